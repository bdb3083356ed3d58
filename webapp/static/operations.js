// The operator's page: what is so now is asked for again while somebody looks; charts over time.
import { element, showTimes, toSignIn } from "./base.js";
import { t } from "./texts.js";
const { uPlot } = window; // its smallest build is no module

const TEXT = {
  away: t("What you see may be old: the server can’t be reached."),
  empty: t("No figures yet."), time: t("Time"),
  none: t("There are no figures to draw now: monitoring is away."),
};
const NOW_EVERY = 10_000, CHARTS_EVERY = 60_000, HEIGHT = 180;
const COLOURS = ["--accent", "--spark", "--calm"];

const now = document.getElementById("now");
const charts = document.querySelector(".charts");
const say = document.getElementById("charts-say");
let span = "1h";
let drawn = [];

async function fetched(path) {
  const response = await fetch(path);
  if (response.status === 401) { toSignIn(); return null; }
  return response;
}

async function lookNow() {
  if (document.hidden || now.contains(document.activeElement)) return; // nobody looks, or is about to press
  try {
    const response = await fetched(now.dataset.path);
    if (!response?.ok) throw new Error();
    now.innerHTML = await response.text(); // our own page's part
    showTimes(now);
  } catch {
    if (!now.querySelector(".old")) now.prepend(element("p", { className: "old error", role: "alert" }, TEXT.away));
  }
}

async function lookBack() {
  if (document.hidden && drawn.length) return;
  try {
    const response = await fetched(`${charts.dataset.path}?${new URLSearchParams({ span })}`);
    if (!response?.ok) throw new Error();
    draw(await response.json());
    say.textContent = "";
    say.hidden = true;
  } catch {
    say.hidden = false;
    say.textContent = TEXT.none;
  }
}

function draw(found) {
  drawn.forEach((plot) => plot.destroy());
  drawn = [];
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const clock = new Intl.DateTimeFormat(undefined, span === "7d" ? { month: "short", day: "numeric" } : { hour: "2-digit", minute: "2-digit" });
  const moment = (at) => clock.format(at * 1000);
  const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") } };
  for (const figure of charts.querySelectorAll("[data-chart]")) {
    const lines = Object.entries(found.charts[figure.dataset.chart] ?? {});
    const place = figure.querySelector(".plot");
    const shares = figure.dataset.chart === "capacity";
    const value = (_, v) => (v == null ? "–" : shares ? `${(v * 100).toFixed(0)} %` : `${+v.toFixed(2)}`);
    place.replaceChildren();
    if (!lines.some(([, values]) => values.some((v) => v !== null))) {
      place.append(element("p", { className: "quiet small" }, TEXT.empty));
      continue;
    }
    drawn.push(new uPlot({
      width: place.clientWidth, height: HEIGHT,
      scales: { y: { range: (_, low, high) => [0, shares ? 1 : Math.max(high ?? 0, 1) * 1.05] } },
      axes: [{ ...axis, values: (_, ticks) => ticks.map(moment) }, { ...axis, size: 54, values: (_, ticks) => ticks.map((v) => (shares ? `${Math.round(v * 100)} %` : `${+v.toFixed(2)}`)) }],
      series: [{ label: TEXT.time, value: (_, at) => (at == null ? "–" : moment(at)) }, ...lines.map(([label], n) => ({ label, value, width: 2, stroke: colour(COLOURS[n % COLOURS.length]), dash: n ? [6, 3 * n] : undefined, points: { show: false } }))],
    }, [found.at, ...lines.map(([, values]) => values)], place));
  }
}

for (const button of charts.querySelectorAll("[data-span]")) {
  button.addEventListener("click", () => {
    span = button.dataset.span;
    charts.querySelectorAll("[data-span]").forEach((one) => one.setAttribute("aria-pressed", String(one === button)));
    lookBack();
  });
}
let resizing;
new ResizeObserver(() => {
  clearTimeout(resizing);
  resizing = setTimeout(() => drawn.forEach((plot) => plot.setSize({ width: plot.root.parentElement.clientWidth, height: HEIGHT })), 150);
}).observe(charts);

setInterval(lookNow, NOW_EVERY);
setInterval(lookBack, CHARTS_EVERY);
lookBack();
