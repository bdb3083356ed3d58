// The quiet parts of a workspace: lessons, activity, usage, settings. Each looks when it is shown.
import { bytes, busy, element, money, send, showErrors, timeElement, toast } from "./base.js";
import { order, possible } from "./orders.js";
import { t } from "./texts.js";

const TEXT = {
  failed: (why) => t("This can’t be shown right now: {why}", { why }), again: t("Try again"),
  noLessons: t("Nothing noted yet. When it learns something at work that helps the next time, it is written down here for you to decide."),
  states: { new: ["accent", t("New")], approved: ["good", t("Approved")], rejected: ["", t("Rejected")] },
  evidence: t("How it knows: "), learned: t("Noted "), approve: t("Approve"), reject: t("Reject"),
  decided: { approved: t("Approved. Every employee is told."), rejected: t("Rejected. Nobody is told.") },
  answered: (share) => t("Answered {share} of the time in the last two weeks. While it sleeps nobody asks.", { share }),
  notAsked: t("nobody asked"),
  noActivity: t("Nothing has happened yet."), by: (who) => t("by {who}", { who }), took: (s) => t("took {s} s", { s }),
  spent: t("Spent on its model"), reserved: t("Set aside for answers under way"), calls: t("Answers of its model"),
  words: t("Words and pieces of words read and written"), space: t("Space used by its files"),
  of: (part, all) => t("{part} of {all}", { part, all }), company: t("Spent by your whole team"), count: (n) => new Intl.NumberFormat().format(n),
  budget: t("Name an amount in US dollars."), saved: t("Saved. It takes effect within seconds."), same: t("Nothing to save: it is as it was."),
  leave: t("Changes are not saved yet."),
};

/** What to call when a part is shown, by its name. */
export function panels(work, context) {
  const pane = (name) => document.getElementById(`pane-${name}`);
  startSettings(pane("settings"), context);
  const shown = {
    lessons: () => look(pane("lessons"), () => lessons(pane("lessons"), context)),
    activity: () => look(pane("activity"), () => activity(pane("activity"), context)),
    usage: () => look(pane("usage"), () => usage(pane("usage"), context)),
  };
  // What is on the screen stays true.
  let timer = 0;
  context.listeners.add(() => {
    clearTimeout(timer);
    timer = setTimeout(() => { if (work.dataset.shown === "activity") shown.activity(); }, 1500);
  });
  return shown;
}

/** Looks something up; what is there stays until the answer is, and an error offers a retry. */
async function look(pane, act) {
  const say = pane.querySelector(".say");
  try {
    const text = await act();
    say.replaceChildren(text ?? "");
    say.hidden = !text;
  } catch (error) {
    const again = element("button", { type: "button" }, TEXT.again);
    again.addEventListener("click", () => look(pane, act));
    say.replaceChildren(TEXT.failed(error.message), " ", again);
    say.hidden = false;
  }
}

const badge = ([kind, text]) => element("span", { className: `badge dot ${kind}`.trim() }, text);

// ---- lessons ---------------------------------------------------------------------------------

async function lessons(pane, context) {
  const found = (await send("GET", `${context.api}/lessons`)).lessons;
  const order = ["new", "approved", "rejected"];
  found.sort((a, b) => order.indexOf(a.state) - order.indexOf(b.state));
  pane.querySelector(".lessons").replaceChildren(...found.map((lesson) => lessonItem(lesson, pane, context)));
  return found.length ? "" : TEXT.noLessons;
}

function lessonItem(lesson, pane, context) {
  const day = timeElement(lesson.learned_on, "date");
  const item = element("li", { className: "card lesson stack tight" },
    element("div", { className: "row between top" }, element("p", { className: "strong grow" }, lesson.lesson), badge(TEXT.states[lesson.state])),
    element("p", { className: "small" }, element("span", { className: "quiet" }, TEXT.evidence), lesson.evidence),
    element("p", { className: "small quiet" }, TEXT.learned, day));
  if (!context.canChange) return item;
  const row = element("div", { className: "row" });
  for (const [state, text] of [["approved", TEXT.approve], ["rejected", TEXT.reject]]) {
    if (lesson.state === state) continue;
    const button = element("button", { type: "button", className: state === "approved" ? "primary" : "" }, text);
    button.addEventListener("click", () => busy(button, async () => {
      await send("POST", `${context.api}/lessons/${lesson.id}`, { state });
      toast(TEXT.decided[state]);
      const made = lessonItem({ ...lesson, state }, pane, context);
      item.replaceWith(made);
      made.querySelector("button").focus();
    }));
    row.append(button);
  }
  item.append(row);
  return item;
}

// ---- activity --------------------------------------------------------------------------------

/** How well it was there: a bar a day. Left out while nobody can say. */
async function uptime(place, context) {
  const { days } = await send("GET", `${context.api}/uptime`).catch(() => ({ days: [] }));
  const known = days.filter((share) => share !== null);
  place.hidden = !known.length;
  if (!known.length) return;
  const percent = (share) => new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 2 }).format(share);
  place.querySelector("p").textContent = TEXT.answered(percent(known.reduce((sum, share) => sum + share, 0) / known.length));
  place.querySelector("ol").replaceChildren(...days.map((share, n) => {
    const day = new Date(Date.now() - (days.length - 1 - n) * 86_400_000).toLocaleDateString(undefined, { dateStyle: "medium" });
    const said = `${day}: ${share === null ? TEXT.notAsked : percent(share)}`;
    const tone = share === null ? "" : share >= 0.999 ? "good" : share >= 0.95 ? "warn" : "bad";
    return element("li", { className: tone, title: said }, element("span", { className: "hidden" }, said));
  }));
}

async function activity(pane, context) {
  uptime(pane.querySelector(".uptime"), context);
  const found = (await send("GET", `${context.api}/activity`)).activity;
  pane.querySelector(".activity").replaceChildren(...found.map((row) => {
    const about = [row.by && TEXT.by(row.by), row.seconds !== null && TEXT.took(row.seconds)].filter(Boolean).join(", ");
    return element("li", { className: `event ${row.tone}` },
      element("div", { className: "row between top" }, element("p", { className: "strong grow" }, t(row.text)),
        element("span", { className: "small quiet" }, timeElement(row.at))),
      ...(row.detail ? [element("p", { className: "small" }, row.detail)] : []),
      ...(about ? [element("p", { className: "small quiet" }, about)] : []));
  }));
  return found.length ? "" : TEXT.noActivity;
}

// ---- usage -----------------------------------------------------------------------------------

async function usage(pane, context) {
  const all = await send("GET", `/api/v1/customers/${encodeURIComponent(context.customer)}/usage`);
  const { employee } = context;
  const mine = all.employees[employee.id] ?? { settled_usd: 0, reserved_usd: 0, calls: 0, tokens: 0 };
  const budget = employee.monthly_budget_usd;
  const space = all.volume_bytes?.[employee.id];
  const figures = pane.querySelector(".figures");
  figures.replaceChildren();
  const add = (name, value, part) => {
    const box = element("div", { className: "card" }, element("dt", { className: "quiet small" }, name), element("dd", { className: "number" }, value));
    if (part !== undefined) {
      const bar = element("progress", { max: 1, value: Math.min(part, 1), className: part >= 1 ? "bad" : part >= 0.8 ? "warn" : "" });
      bar.setAttribute("aria-label", name);
      box.append(element("dd", {}, bar));
    }
    figures.append(box);
  };
  add(TEXT.spent, TEXT.of(money(mine.settled_usd), money(budget)), budget ? mine.settled_usd / budget : 0);
  if (mine.reserved_usd > 0) add(TEXT.reserved, money(mine.reserved_usd));
  add(TEXT.calls, TEXT.count(mine.calls));
  add(TEXT.words, TEXT.count(mine.tokens));
  if (space !== undefined) add(TEXT.space, TEXT.of(bytes(space), bytes(all.volume_limit_bytes)), space / all.volume_limit_bytes);
  add(TEXT.company, money(all.customer.settled_usd));
  return "";
}

// ---- settings --------------------------------------------------------------------------------

function startSettings(pane, context) {
  const form = pane.querySelector("form");
  if (!form) return;
  const field = (name) => form.elements[name];
  const skills = () => [...form.querySelectorAll("[name=skills]:checked")].map((box) => box.value);
  const values = () => ({ name: field("name").value.trim(), role: field("role").value.trim(),
    instructions: field("instructions").value, skills: skills(), model: { monthly_budget_usd: field("budget").valueAsNumber } });
  let saved = JSON.stringify(values());
  const dirty = () => JSON.stringify(values()) !== saved;
  let timer = 0;

  async function check() {
    const wanted = values();
    const noNumber = Number.isNaN(wanted.model.monthly_budget_usd);
    if (noNumber) delete wanted.model;
    // The same rules as for a hire; a seat is taken already.
    const { problems } = await send("POST", `${context.api.replace(/\/[^/]+$/, "")}/check`, wanted);
    const found = new Map(problems.filter((p) => p.field !== "seats").map((p) => [p.field, p.message]));
    if (noNumber) found.set("budget", TEXT.budget);
    for (const place of form.querySelectorAll("[data-error]")) {
      const text = found.get(place.dataset.error) ?? "";
      if (place.textContent !== text) place.textContent = text;
      const input = form.querySelector(`[name="${place.dataset.error}"]:not([type=checkbox])`);
      if (text) input?.setAttribute("aria-invalid", "true"); else input?.removeAttribute("aria-invalid");
    }
    return found.size;
  }

  form.addEventListener("input", () => {
    form.querySelector(".saved").textContent = dirty() ? TEXT.leave : "";
    clearTimeout(timer);
    timer = setTimeout(() => check().catch(() => {}), 350);
  });

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    busy(form.querySelector("button.primary"), async () => {
      const error = form.querySelector(".form-error");
      error.hidden = true;
      if (!dirty()) { form.querySelector(".saved").textContent = TEXT.same; return; }
      if (await check()) { form.querySelector("[aria-invalid=true]")?.focus(); return; }
      const before = JSON.parse(saved);
      const wanted = values();
      const changed = Object.fromEntries(Object.entries(wanted).filter(
        ([name, value]) => JSON.stringify(value) !== JSON.stringify(before[name])));
      try {
        await send("PATCH", context.api, changed);
      } catch (problem) {
        error.textContent = showErrors(form, problem);
        error.hidden = !error.textContent;
        return;
      }
      saved = JSON.stringify(wanted);
      form.querySelector(".saved").textContent = "";
      toast(TEXT.saved);
      context.look();
    });
  });
  addEventListener("beforeunload", (event) => { if (dirty()) event.preventDefault(); });

  function offer(employee) {
    const orders = possible(employee);
    for (const button of pane.querySelectorAll("[data-order]")) {
      const verb = button.dataset.order;
      button.hidden = ["pause", "resume"].includes(verb) && !orders.includes(verb);
      button.disabled = !orders.includes(verb);
    }
    form.inert = employee.state === "retired";
  }
  context.listeners.add(offer);
  pane.addEventListener("click", (event) => {
    const button = event.target.closest("[data-order]");
    if (button) busy(button, async () => { if (await order(button.dataset.order, context.employee, context.grace)) context.look(); });
  });
}
