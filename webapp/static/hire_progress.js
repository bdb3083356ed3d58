// The first day, as it really is: the stages follow the status events of the employee, never a
// timer. Each wait says its reason and for how long, and has a way out.
import { busy, element, send, timeElement } from "./base.js";
import { watch } from "./live.js";
import { t } from "./texts.js";

const TEXT = {
  stages: [t("You signed the contract"), t("Its desk is set up"), t("It reads your notes and gets ready"), t("It is here")],
  title: (name) => t("{name} is getting ready", { name }), lead: t("Usually this takes less than a minute. You may close this page: it goes on without you."),
  here: (name) => t("{name} is here", { name }), hereLead: t("Ask it a few questions, to see what stuck. Or just say hello."),
  failed: (name) => t("{name} could not start", { name }), failedLead: t("Nothing you wrote is lost. Try again; if it fails twice, the reason below helps whoever you ask."),
  gone: (name) => t("{name} does not work here any more", { name }), goneLead: t("It was retired or paused meanwhile. You can hire somebody else, or go to your team."),
  slow: t("This takes longer than usual. It goes on by itself, also when you leave."), since: (s) => t("for {s} s", { s }), expected: t("Expected by "),
  lost: t("The connection was lost; what you see may be old. Trying again…"), unknown: t("It can’t be checked right now whether all is well."),
  quiz: t("Ask it a few questions"), chat: t("Say hello"), team: t("Go to your team"), retry: t("Try again"), over: t("Begin again"),
};
const SLOW_S = 90;
const part = (id) => document.getElementById(id);

/** What the employee's status says: the stage that is under way, or what went wrong. */
export function stageOf(e) {
  if (!e || e.state !== "running") return { at: 0, stage: "signed", gone: true };
  if (["Degraded", "Missing"].includes(e.health_status)) return { at: e.sync_status === "Synced" ? 2 : 1, stage: "ready", failed: true };
  if (e.health_status === "Healthy" && e.sync_status === "Synced") return { at: 4, stage: "here" };
  if (!e.updated_at) return { at: 1, stage: "signed" };
  return e.sync_status === "OutOfSync" ? { at: 1, stage: "desk" } : { at: 2, stage: "ready" };
}

export function watchHire({ customer, employee, name, hiredAt }) {
  const base = `/api/v1/customers/${encodeURIComponent(customer)}`;
  const path = `${base}/employees/${encodeURIComponent(employee)}`;
  let shown = "";
  let since = Date.now();
  let latest = null;

  const link = (text, act, kind = "") => {
    const made = element("button", { type: "button", className: kind }, text);
    made.addEventListener("click", () => busy(made, act));
    return made;
  };
  const leave = async (to) => { await send("DELETE", `${base}/onboarding`); location.assign(to); };
  const actions = {
    here: () => [
      link(TEXT.quiz, async () => { await send("POST", `${base}/onboarding/quiz`, {}); location.assign(`/employees/${employee}/quiz?first=1`); }, "primary large"),
      link(TEXT.chat, () => leave(`/employees/${employee}`), "large")],
    failed: () => [link(TEXT.retry, () => send("POST", `${path}/retry`, {}), "primary"), element("a", { href: "/", className: "button" }, TEXT.team)],
    gone: () => [link(TEXT.over, () => leave("/onboarding"), "primary"), link(TEXT.team, () => leave("/"))],
    wait: () => [element("a", { href: "/", className: "button quiet" }, TEXT.team)],
  };

  function show(e) {
    latest = e;
    const { at, stage, failed, gone } = stageOf(e);
    const kind = gone ? "gone" : failed ? "failed" : stage === "here" ? "here" : "wait";
    const now = `${kind} ${at}`;
    if (now !== shown) {
      shown = now;
      since = at === 1 && kind === "wait" ? new Date(hiredAt).getTime() : Date.now();
      part("hire-title").textContent = { gone: TEXT.gone, failed: TEXT.failed, here: TEXT.here, wait: TEXT.title }[kind](name);
      part("hire-lead").textContent = { gone: TEXT.goneLead, failed: TEXT.failedLead, here: TEXT.hereLead, wait: TEXT.lead }[kind];
      part("hire-actions").replaceChildren(...actions[kind]());
      document.title = part("hire-title").textContent;
    }
    part("scene").dataset.stage = stage;
    part("scene").classList.toggle("failed", Boolean(failed));
    steps(at, failed, gone);
  }

  function steps(at, failed, gone) {
    part("hire-steps").replaceChildren(...(gone ? [] : TEXT.stages).map((text, index) => {
      const state = index < at ? "done" : index > at ? "" : failed ? "failed" : "now";
      const made = element("li", { className: state }, text);
      if (state === "now") made.setAttribute("aria-current", "step");
      if (state === "now" || state === "failed") made.append(reason(failed));
      return made;
    }));
  }

  function reason(failed) {
    const passed = Math.max(0, Math.round((Date.now() - since) / 1000));
    const words = [latest?.sync_status === "Unknown" ? TEXT.unknown : latest?.summary?.detail ?? latest?.reason, failed ? "" : TEXT.since(passed)];
    const made = element("span", { className: "reason" }, words.filter(Boolean).join(" · "));
    if (!failed && passed > SLOW_S) made.append(element("br"), TEXT.slow);
    if (!failed && latest?.deadline) made.append(element("br"), TEXT.expected, timeElement(latest.deadline, "time"));
    return made;
  }

  watch(customer, {
    team: (all) => show(all.find((e) => e.id === employee)),
    employee: (e) => { if (e.id === employee) show(e); },
    gone: (id) => { if (id === employee) show(undefined); },
    connected: (yes) => { part("connection").textContent = yes ? "" : TEXT.lost; },
  });
  // The clock of the wait; what is done and what is not comes from events alone.
  setInterval(() => { if (latest && shown.startsWith("wait")) part("hire-steps").querySelector(".now .reason")?.replaceWith(reason(false)); }, 1000);
  part("hire-title").textContent = TEXT.title(name);
  part("hire-lead").textContent = TEXT.lead;
}
