// One employee's workspace: which parts are shown, how wide the chat is, what state it is in. The
// parts themselves: frames.js (chat, browser), files.js (files, memory), panels.js (the rest).
import { send, showTab } from "./base.js";
import { openFiles } from "./files.js";
import { startFrame } from "./frames.js";
import { read, watch } from "./live.js";
import { panels } from "./panels.js";
import { t } from "./texts.js";

const TEXT = { gone: t("It is no longer part of your team.") };
const NARROW = matchMedia("(max-width: 900px)");
const WIDTH = { key: "iw-chat-width", usual: 40, least: 20, most: 75, step: 2 };
const SPLIT = "iw-chat-open";

const work = document.querySelector(".work");
const panes = work.querySelector(".panes");
const divider = work.querySelector(".divider");
const split = work.querySelector(".split");
const tabs = [...work.querySelectorAll("[role=tab]")];
const api = `/api/v1/customers/${encodeURIComponent(work.dataset.customer)}/employees/${work.dataset.employee}`;
const context = {
  api, customer: work.dataset.customer, canChange: "canChange" in work.dataset,
  grace: Number(work.dataset.grace), employee: null, listeners: new Set(),
  show: (name) => showTab(document.getElementById(`tab-${name}`)),
};
const remembered = (key) => { try { return localStorage.getItem(key); } catch { return null; } };
const remember = (key, value) => { try { localStorage.setItem(key, value); } catch { /* private mode */ } };

// ---- which parts are shown -------------------------------------------------------------------

const frames = Object.fromEntries(["chat", "browser"].map((kind) => [kind, startFrame(
  document.getElementById(`pane-${kind}`), context, new URL(work.dataset[kind]).origin)]));
const opened = new Set();
const lazy = { // what is looked up when it is first shown
  files: () => openFiles(document.getElementById("pane-files"), context),
  memory: () => openFiles(document.getElementById("pane-memory"), context),
};
const parts = panels(work, context);

let shown = "chat";
const isSplit = () => !NARROW.matches && split.getAttribute("aria-pressed") === "true";

function arrange() {
  const both = isSplit();
  const chatTab = document.getElementById("tab-chat");
  chatTab.hidden = both;
  if (both && shown === "chat") { context.show("browser"); return; }
  work.classList.toggle("is-split", both);
  work.dataset.shown = shown;
  split.hidden = NARROW.matches;
  divider.hidden = !both;
  for (const tab of tabs) {
    const name = tab.id.replace("tab-", "");
    document.getElementById(`pane-${name}`).classList.toggle("shown", name === shown || (both && name === "chat"));
  }
  if (both) frames.chat.start();
  if (!opened.has(shown)) {
    opened.add(shown);
    lazy[shown]?.();
  }
  frames[shown]?.start();
  parts[shown]?.();
}

document.addEventListener("tab-shown", (event) => {
  shown = event.detail.id.replace("tab-", "");
  const hash = shown === "chat" || shown === "browser" ? "" : `#${shown}`;
  if (location.hash !== hash) history.replaceState(null, "", location.pathname + location.search + hash);
  arrange();
});
split.addEventListener("click", () => {
  const wanted = split.getAttribute("aria-pressed") !== "true";
  split.setAttribute("aria-pressed", String(wanted));
  remember(SPLIT, wanted ? "yes" : "no");
  arrange();
});
NARROW.addEventListener("change", () => (NARROW.matches && shown === "browser" ? context.show("chat") : arrange()));

// ---- how wide the chat is --------------------------------------------------------------------

let width = WIDTH.usual;
function setWidth(percent, keep = true) {
  width = Math.min(WIDTH.most, Math.max(WIDTH.least, Math.round(percent)));
  panes.style.setProperty("--chat", `${width}%`);
  divider.setAttribute("aria-valuenow", String(width));
  divider.setAttribute("aria-valuetext", `${width} %`);
  if (keep) remember(WIDTH.key, String(width));
}
divider.addEventListener("keydown", (event) => {
  const to = { ArrowLeft: width - WIDTH.step, ArrowRight: width + WIDTH.step, Home: WIDTH.least, End: WIDTH.most }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  setWidth(to);
});
divider.addEventListener("pointerdown", (event) => {
  divider.setPointerCapture(event.pointerId);
  work.classList.add("dragging"); // the frames must not swallow the pointer
});
divider.addEventListener("pointermove", (event) => {
  if (!divider.hasPointerCapture(event.pointerId)) return;
  const box = panes.getBoundingClientRect();
  setWidth(((event.clientX - box.left) / box.width) * 100, false);
});
divider.addEventListener("lostpointercapture", () => { work.classList.remove("dragging"); setWidth(width); });
divider.addEventListener("dblclick", () => setWidth(WIDTH.usual));

// ---- what it is doing ------------------------------------------------------------------------

const head = work.querySelector(".now");
function take(employee) {
  context.employee = { ...context.employee, ...employee };
  const { tone, label, detail } = employee.summary;
  const badge = head.querySelector(".badge");
  badge.className = `badge dot ${tone}`.trim();
  badge.textContent = label;
  head.querySelector(".detail").textContent = detail;
  work.querySelector("h1").textContent = employee.name;
  work.querySelector(".role").textContent = employee.role;
  for (const listener of context.listeners) listener(context.employee);
}
context.look = async () => {
  try { take(read((await send("GET", api)).employee)); } catch { /* the frames say what is wrong */ }
};

const mine = (employee) => { if (employee.id === work.dataset.employee) take(employee); };
watch(context.customer, {
  team: (team) => team.forEach(mine), employee: mine,
  gone: (id) => { if (id === work.dataset.employee && context.employee) {
    take({ ...context.employee, state: "retired", summary: { group: "retired", tone: "", label: t("Retired"), detail: TEXT.gone } });
  } },
});

split.setAttribute("aria-pressed", String(remembered(SPLIT) !== "no"));
setWidth(Number(remembered(WIDTH.key)) || WIDTH.usual, false);
const asked = document.getElementById(`tab-${location.hash.slice(1)}`);
await context.look();
if (asked) showTab(asked); else arrange();
