// Onboarding: one step at a time, every answer kept by `draft`, then the hire and its progress.
import { ApiError, busy, element, send, showErrors, clearErrors, tone } from "./base.js";
import { Draft, forgetAll } from "./draft.js";
import { watchHire } from "./hire_progress.js";
import { Uploads } from "./uploads.js";
import { many, t } from "./texts.js";

const TEXT = {
  saved: t("Every answer is kept, on this device and in your account."), saving: t("Keeping your answer…"),
  offline: t("You are offline. Your answers are kept on this device, and sent when you are back."),
  "signed-out": t("You were signed out. Your answers are kept on this device: sign in again to go on."),
  next: t("Continue"), hire: (name) => t("Hire {name}", { name }), done: t(" (answered)"), edit: t("Change"), nothing: t("Nothing yet, and that is fine."),
  name: t("Give it a name; it can be changed later."), role: t("Say what it is to you, such as “Marketing assistant”."),
  nobody: t("Your employee"), noRole: t("Nobody yet"), rules: (n) => many(n, "{n} rule", "{n} rules"), facts: (n) => many(n, "{n} fact by heart", "{n} facts by heart"),
  documents: (n) => many(n, "{n} document", "{n} documents"), duties: (n) => many(n, "{n} duty", "{n} duties"),
  library: (n) => n ? many(n, "{n} document is in your knowledge already.", "{n} documents are in your knowledge already.") : "",
  unsent: t("Your answers could not be sent to the server yet, so nobody can be hired. Check your connection and try again; nothing is lost."),
  again: t("It is safe to try again: nobody is hired twice."), seats: t("See plans and seats"), team: t("Go to your team"),
  noPreview: t("The exact words can’t be fetched right now. They are made of the answers above."),
};
const STEPS = ["company", "job", "voice", "rules", "knowledge", "task", "review"];

const root = document.getElementById("onboarding");
const form = document.getElementById("answers");
const part = (id) => document.getElementById(id);
const { account, customer, step: first } = root.dataset;
const saved = JSON.parse(root.dataset.saved);
const draft = new Draft({ account, customer, saved, step: STEPS[0] });
const fields = [...form.elements].filter((one) => one.name && one.name !== "csrf_token");
let knowledge = null;

// ---- answers ----

/** Shows what is kept, but for the field that is being written in. */
function fill() {
  for (const one of fields) {
    if (one === document.activeElement && one.type !== "radio") continue;
    const value = draft.answers[one.name] ?? "";
    if (one.type === "radio") one.checked = one.value === value; else if (one.value !== value) one.value = value;
  }
  progress();
}

form.addEventListener("input", (event) => {
  const { name, value } = event.target;
  if (!fields.includes(event.target)) return;
  draft.set(name, value);
  if (event.target.hasAttribute("aria-invalid") && value.trim()) clearErrors(form);
  progress();
});

for (const idea of document.querySelectorAll(".idea")) {
  idea.addEventListener("click", () => {
    const offered = { ...idea.dataset };
    for (const [name, value] of Object.entries(offered)) {
      const mine = draft.answers[name] ?? "";
      // What somebody wrote is never replaced; what another idea wrote is.
      const fromIdea = [...document.querySelectorAll(".idea")].some((one) => one.dataset[name] === mine);
      if (!mine.trim() || fromIdea) { draft.set(name, value); form.elements[name].value = value; }
    }
    clearErrors(form);
    progress();
    form.elements[offered.task ? "task" : "name"].focus();
  });
}

const count = (name) => (draft.answers[name] ?? "").split("\n").filter((line) => line.trim()).length;
const answered = (step) => step === "knowledge" ? Boolean(knowledge?.documents.length)
  : fields.some((one) => one.closest(`.step[data-step=${step}]`) && (draft.answers[one.name] ?? "").trim());

/** The list of steps, and the badge that fills as answers come. */
function progress() {
  for (const button of part("stages").querySelectorAll("button")) {
    const done = STEPS.includes(button.dataset.step) && answered(button.dataset.step);
    button.classList.toggle("done", done);
    button.querySelector(".done-word").textContent = done ? TEXT.done : "";
  }
  const name = (draft.answers.name ?? "").trim();
  part("badge-name").textContent = name || TEXT.nobody;
  part("badge-role").textContent = (draft.answers.role ?? "").trim() || TEXT.noRole;
  part("badge-avatar").textContent = ([...name][0] ?? "?").toUpperCase();
  part("badge-avatar").className = `avatar large tone-${tone(name)}`;
  const parts = [count("duties") && TEXT.duties(count("duties")), draft.answers.tone,
    count("always") + count("never") && TEXT.rules(count("always") + count("never")),
    count("facts") && TEXT.facts(count("facts")), knowledge?.documents.length && TEXT.documents(knowledge.documents.length)];
  part("badge-list").replaceChildren(...parts.filter(Boolean).map((text) => element("li", {}, text)));
}

draft.addEventListener("change", fill);
draft.addEventListener("gone", () => location.reload());
draft.addEventListener("state", () => {
  const line = part("kept");
  line.textContent = TEXT[draft.state];
  line.classList.toggle("warn", ["offline", "signed-out"].includes(draft.state));
  // Read out when it matters, not at every letter.
  line.setAttribute("aria-live", draft.state === "saving" || draft.state === "saved" ? "off" : "polite");
  if (draft.state === "signed-out") line.append(" ", element("a", { href: "/sign-in?next=/onboarding" }, "Sign in"));
});

// ---- steps ----

function show(step, { focus = true, remember = true } = {}) {
  for (const section of form.querySelectorAll(".step")) section.classList.toggle("shown", section.dataset.step === step);
  for (const button of part("stages").querySelectorAll("button")) {
    if (button.dataset.step === step) button.setAttribute("aria-current", "step"); else button.removeAttribute("aria-current");
  }
  part("back").hidden = step === STEPS[0];
  part("next-text").textContent = step === "review" ? TEXT.hire((draft.answers.name ?? "").trim() || TEXT.nobody.toLowerCase()) : TEXT.next;
  if (remember && draft.step !== step) history.pushState({ step }, "");
  draft.go(step);
  if (step === "review") review();
  if (step === "knowledge") library();
  if (focus) { scrollTo({ top: 0 }); part(`${step}-title`).focus(); }
}

/** Whether a step may be left; says what is missing beside its field. */
function complete(names) {
  clearErrors(form);
  const missing = names.filter((name) => !(draft.answers[name] ?? "").trim());
  for (const name of missing) {
    form.querySelector(`[data-error=${name}]`).textContent = TEXT[name];
    form.elements[name].setAttribute("aria-invalid", "true");
  }
  if (missing.length) form.elements[missing[0]].focus();
  return !missing.length;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const step = draft.step;
  if (step === "review") {
    if (["name", "role"].some((name) => !(draft.answers[name] ?? "").trim())) { show("job"); complete(["name", "role"]); return; }
    busy(part("next"), hire);
  } else if (step !== "job" || complete(["name", "role"])) {
    show(STEPS[STEPS.indexOf(step) + 1]);
  }
});
// Enter in a line goes on, as everywhere; not by a button that was meant for something else.
part("back").addEventListener("click", () => show(STEPS[Math.max(0, STEPS.indexOf(draft.step) - 1)]));
part("stages").addEventListener("click", (event) => {
  const step = event.target.closest("button:not(:disabled)")?.dataset.step;
  if (step && STEPS.includes(step) && !form.hidden) show(step);
});
addEventListener("popstate", (event) => { if (STEPS.includes(event.state?.step) && !form.hidden) show(event.state.step, { remember: false }); });

// ---- knowledge ----

async function library() {
  try {
    knowledge = await send("GET", `/api/v1/customers/${encodeURIComponent(customer)}/knowledge`);
    part("library").textContent = TEXT.library(knowledge.documents.length);
    progress();
  } catch (error) {
    if (error.status !== 404) part("library").textContent = error.sentence ?? error.message;
  }
}
new Uploads({ customer, zone: part("zone"), input: part("files"), list: part("uploads"), status: part("uploads-status"),
  limits: () => knowledge, done: library });

// ---- review and hire ----

async function review() {
  part("summary").replaceChildren(...STEPS.filter((step) => !["review", "knowledge"].includes(step)).map(summary));
  part("instructions").textContent = "…";
  try {
    const answers = Object.fromEntries(Object.entries(draft.answers).filter(([, value]) => value));
    const made = await send("POST", `/api/v1/customers/${encodeURIComponent(customer)}/onboarding/preview`, { answers });
    part("instructions").textContent = made.instructions || TEXT.nothing;
  } catch {
    part("instructions").textContent = TEXT.noPreview;
  }
}

function summary(step) {
  const title = part("stages").querySelector(`[data-step=${step}] span:nth-child(2)`).textContent;
  const change = element("button", { type: "button", className: "quiet" }, TEXT.edit, element("span", { className: "hidden" }, ` ${title}`));
  change.addEventListener("click", () => show(step));
  const list = element("dl");
  const seen = new Set();
  for (const one of fields) {
    const value = (draft.answers[one.name] ?? "").trim();
    if (!value || seen.has(one.name) || one.closest(".step").dataset.step !== step) continue;
    seen.add(one.name);
    const label = one.closest("fieldset")?.querySelector("legend") ?? one.closest(".field").querySelector("label");
    list.append(element("div", {}, element("dt", {}, label.textContent.trim()), element("dd", {}, value)));
  }
  return element("section", { className: "summary-part" }, element("div", { className: "row between" }, element("h2", {}, title), change),
    list.children.length ? list : element("p", { className: "quiet small" }, TEXT.nothing));
}

async function hire() {
  part("problem").hidden = true;
  try {
    await draft.flush();
  } catch {
    return problem(TEXT.unsent);
  }
  if (draft.cleared) return undefined; // hired in another tab: the page loads again
  try {
    const answer = await send("POST", `/api/v1/customers/${encodeURIComponent(customer)}/onboarding/hire`, {});
    draft.clear();
    hired(answer.onboarding);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    const seats = error.code === "seat_limit";
    return problem(seats ? error.sentence : `${showErrors(form, error) || error.message} ${TEXT.again}`, seats);
  }
  return undefined;
}

function problem(text, seats = false) {
  part("problem-text").textContent = text;
  part("problem-links").replaceChildren(...(seats ? [element("a", { href: "/billing" }, TEXT.seats), element("a", { href: "/" }, TEXT.team)] : []));
  part("problem").hidden = false;
  part("problem").scrollIntoView({ block: "center" });
}

function hired(row, focus = true) {
  form.hidden = true;
  part("hiring").hidden = false;
  for (const button of part("stages").querySelectorAll("button")) {
    const here = button.dataset.step === "hire";
    button.disabled = !here;
    if (here) button.setAttribute("aria-current", "step"); else button.removeAttribute("aria-current");
    button.classList.toggle("done", !here);
  }
  part("kept").textContent = "";
  watchHire({ customer, employee: row.employee, name: row.answers.name.trim(), hiredAt: row.hired_at });
  if (focus) { scrollTo({ top: 0 }); part("hire-title").focus(); }
}

// Leaving for good takes the answers along, once they are on the server.
for (const out of document.querySelectorAll('form[action$="/sign-out"]')) {
  out.addEventListener("submit", async (event) => {
    event.preventDefault();
    try { await draft.flush(); } catch { /* the server is away: so is the sign-out */ }
    draft.clear();
    forgetAll();
    out.submit();
  });
}

if (saved?.employee) {
  draft.clear();
  hired(saved, false);
} else {
  fill();
  history.replaceState({ step: draft.step }, "");
  show(STEPS.includes(draft.step) ? draft.step : STEPS[0], { focus: first !== draft.step, remember: false });
  library();
}
