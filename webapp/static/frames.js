// The chat and the browser: pages of the employee's own, in frames. A frame says nothing of why it
// is empty, so its cover does: from the employee's status, with a clock, and with a way out.
import { busy, element, send } from "./base.js";
import { lasting } from "./live.js";
import { order } from "./orders.js";
import { t } from "./texts.js";

const TEXT = {
  chat: t("chat"), browser: t("browser"),
  opening: (what, time) => [t("Opening the {what}… {time}", { what, time }), ""],
  waking: (name, time) => [t("Waking {name}… {time}", { name, time }), t("It slept to save resources. Waking takes a few seconds.")],
  starting: (name, reason, time) => [t("{name} is starting… {time}", { name, time }), t("{reason}.", { reason })],
  paused: (name, detail) => [t("{name} is paused", { name }), t("{detail}. Resume it to go on where you left off.", { detail })],
  stopped: (name, detail) => [t("{name} is stopped", { name }), t("{detail}.", { detail })],
  attention: (name, detail) => [t("{name} needs attention", { name }), t("{detail}.", { detail: detail || t("It does not answer") })],
  retired: (name, detail) => [t("{name} has left your team", { name }), detail ? t("{detail}.", { detail }) : ""],
  silent: (what, seconds) => [t("The {what} did not load within {seconds} s", { what, seconds }), t("Your connection may be slow, or something between you and it blocks the page. Try again, or open it in a tab of its own.")],
  refused: (what, why) => [t("The {what} can’t be opened", { what }), why],
  late: t(" This takes longer than it should. You can give it a new workplace (files and memory stay), see what happened, or come back later."),
  again: t("Try again"), workplace: t("New workplace"), activity: t("See what happened"), resume: t("Resume"), team: t("To the team"),
};
const LOAD_S = 20; // how long a page may take
const LATE_S = 60; // after which there is more to do than to wait
const SETTLE_MS = 1200; // a waiting page looks again every second by itself

export function startFrame(pane, context, origin) {
  const kind = pane.dataset.kind;
  const iframe = pane.querySelector("iframe");
  const cover = pane.querySelector(".cover");
  const state = pane.querySelector(".frame-state");
  let began = 0; // when it was asked for, or when the wait began
  let loaded = false;
  let alive = kind !== "browser"; // the desk's page tells when its script runs; the chat's does not
  let asked = false; // whether the frame has an address
  let refused = "";
  let was = "";
  let polled = 0;
  let timer = 0;
  let key = "";

  async function load() {
    asked = true;
    loaded = false;
    alive = kind !== "browser";
    refused = "";
    began = Date.now();
    state.textContent = "";
    show();
    try {
      const { url } = await send("POST", `${context.api}/open`, { kind });
      iframe.src = url;
    } catch (error) {
      refused = error.message;
      asked = false;
    }
    show();
  }

  iframe.addEventListener("load", () => {
    if (!iframe.getAttribute("src")) return;
    loaded = true;
    show();
  });

  /** What to say: [title, text], and what can be done about it; null when the page is there. */
  function situation() {
    const employee = context.employee;
    if (!employee) return [TEXT.opening(TEXT[kind], seconds()), []];
    const { name, summary: { group, detail } } = employee;
    const waits = group === "asleep" || group === "starting";
    const late = waits && Date.now() - began > LATE_S * 1000;
    const ways = late ? ["workplace", "activity", "team"] : [];
    if (group === "retired") return [TEXT.retired(name, detail), ["activity", "team"]];
    if (group === "paused") {
      return employee.state === "paused" ? [TEXT.paused(name, detail), ["resume"]] : [TEXT.stopped(name, detail), ["team"]];
    }
    if (group === "attention") return [TEXT.attention(name, detail), ["workplace", "activity"]];
    if (refused) return [TEXT.refused(TEXT[kind], refused), ["again"]];
    if (waits) {
      const [title, text] = group === "asleep" ? TEXT.waking(name, seconds()) : TEXT.starting(name, detail || "it gets ready", seconds());
      return [[title, text + (late ? TEXT.late : "")], ways];
    }
    if (loaded && alive) return null;
    if (Date.now() - began > LOAD_S * 1000) return [TEXT.silent(TEXT[kind], LOAD_S), ["again", "activity"]];
    return [TEXT.opening(TEXT[kind], seconds()), []];
  }

  const seconds = () => lasting(Math.round((Date.now() - began) / 1000));

  function show() {
    const found = situation();
    cover.hidden = !found;
    if (!found) { clearInterval(timer); timer = 0; return; }
    if (!timer) timer = setInterval(turn, 1000);
    const [[title, text], ways] = found;
    write(cover.querySelector(".cover-title"), title);
    write(cover.querySelector(".cover-text"), text);
    const wanted = ways.join();
    if (wanted === key) return;
    key = wanted;
    cover.querySelector(".cover-actions").replaceChildren(...ways.filter((way) => context.canChange
      || !["workplace", "resume"].includes(way)).map(button));
  }

  function turn() {
    // The stream may be lost just now: who waits asks.
    if (Date.now() - polled > 2000) { polled = Date.now(); context.look(); }
    show();
  }

  function button(way) {
    if (way === "team") return element("a", { className: "button", href: "/" }, TEXT.team);
    const made = element("button", { type: "button", className: way === "again" || way === "resume" ? "primary" : "" }, TEXT[way]);
    made.addEventListener("click", () => {
      if (way === "activity") context.show("activity");
      else if (way === "again") load();
      else busy(made, () => order(way === "resume" ? "resume" : "retry", context.employee, context.grace, false));
    });
    return made;
  }

  /** Its state changed: a page that could not be there is asked for now. */
  function follow(employee) {
    if (!began) return;
    const { group } = employee.summary;
    const there = ["work", "asleep", "starting"].includes(group);
    if (group !== was && (group === "starting" || group === "asleep")) began = Date.now();
    if (there && !asked && !refused) load();
    else if (group === "work" && was && was !== "work" && there) {
      loaded = false; // what is in the frame is the page that waits
      began = Date.now();
      setTimeout(() => { loaded = true; show(); }, SETTLE_MS);
    }
    if (!there) { asked = false; iframe.removeAttribute("src"); }
    was = group;
    show();
  }
  context.listeners.add(follow);

  // The desk's page says what it shows: heard from its exact address and from this frame alone.
  addEventListener("message", (event) => {
    if (event.origin !== origin || event.source !== iframe.contentWindow) return;
    if (typeof event.data?.desk?.text !== "string") return;
    if (!alive) { alive = true; show(); }
    write(state, event.data.desk.text.slice(0, 200));
    pane.classList.toggle("acting", event.data.desk.acting === true);
  });

  pane.querySelector(".reload").addEventListener("click", load);
  return {
    /** Loads it when it is first shown. */
    start() {
      if (began) return;
      began = Date.now();
      if (context.employee) follow(context.employee); else load();
    },
  };
}

function write(node, text) { if (node.textContent !== text) node.textContent = text; }
