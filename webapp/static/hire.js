// Hiring: the form, checked by the server's own rules while one types, then the steps of the hire
// as the reconciler takes them. On the team's page in a dialog, on /hire as a page.
import { busy, send, showErrors, toast } from "./base.js";
import { lasting, since, watch } from "./live.js";
import { many, t } from "./texts.js";

const TEXT = {
  free: (free, seats) => many(seats, "{free} of {n} seat free", "{free} of {n} seats free", { free }),
  under: (name) => t("{name} is being set up. You may leave: it goes on by itself.", { name }),
  failed: (name) => t("{name} needs attention before it can start.", { name }),
  ready: (name) => t("{name} is ready.", { name }), open: (name) => t("Open {name}", { name }),
  title: t("Hire an employee"), started: (name) => t("{name} is on the way", { name }),
  late: t("This takes longer than it should. It is tried again by itself; you can leave this page and come back, or try again now with a new workplace."),
  again: t("Tried again: a new workplace is being set up."), budget: t("Name an amount in US dollars."), done: t(" (done)"), stopped: t(" (failed)"),
};
const CHECK_MS = 350;
const LATE_S = 60;
const LOOK_MS = 1500;

/** Wires one `.hire` with its form. `dialog`, `openers`: where it is shown in a dialog. */
export function startHiring(root, { dialog = null, openers = [] } = {}) {
  if (!root) return null;
  const form = root.querySelector("form");
  const place = root.querySelector(".hire-progress");
  const api = `/api/v1/customers/${encodeURIComponent(root.dataset.customer)}/employees`;
  const touched = new Set();
  const field = (name) => form.elements[name];
  let steps = null;
  let timer = 0;
  let asked = 0;

  function wish() {
    return { name: field("name").value.trim(), role: field("role").value.trim(),
      instructions: field("instructions").value,
      skills: [...form.querySelectorAll("[name=skills]:checked")].map((box) => box.value),
      model: { monthly_budget_usd: field("budget").valueAsNumber } };
  }

  /** A role's defaults, where nothing of one's own stands. */
  function takeRole(choice) {
    const values = { role: choice.dataset.title, instructions: choice.dataset.instructions, budget: choice.dataset.budget };
    for (const [name, value] of Object.entries(values)) if (!touched.has(name)) field(name).value = value;
    if (!touched.has("skills")) {
      const skills = choice.dataset.skills.split(" ");
      for (const box of form.querySelectorAll("[name=skills]")) box.checked = skills.includes(box.value);
    }
  }

  function tell(problems, all = false) {
    const found = new Map(problems.map((p) => [p.field, p.message]));
    for (const spot of form.querySelectorAll("[data-error]")) {
      const name = spot.dataset.error;
      const text = all || touched.has(name) ? found.get(name) ?? "" : "";
      if (spot.textContent !== text) spot.textContent = text;
      const input = form.querySelector(`[name="${name}"]:not([type=checkbox])`);
      if (text) input?.setAttribute("aria-invalid", "true"); else input?.removeAttribute("aria-invalid");
    }
    const other = found.get("form") ?? found.get("seats") ?? "";
    const banner = form.querySelector(".form-error");
    banner.textContent = other;
    banner.hidden = !other;
  }

  async function check(all = false) {
    const mine = ++asked;
    const wanted = wish();
    const noNumber = Number.isNaN(wanted.model.monthly_budget_usd);
    if (noNumber) delete wanted.model;
    const { problems } = await send("POST", `${api}/check`, wanted);
    if (noNumber) problems.push({ field: "budget", message: TEXT.budget });
    if (mine === asked) tell(problems, all);
    return problems;
  }

  form.addEventListener("input", (event) => {
    const { name } = event.target;
    if (name === "role_id") takeRole(event.target); else touched.add(name);
    clearTimeout(timer);
    timer = setTimeout(() => check().catch(() => {}), CHECK_MS); // the hire itself will say it
  });

  root.addEventListener("click", (event) => {
    const chip = event.target.closest("[data-name]");
    if (!chip) return;
    field("name").value = chip.dataset.name;
    touched.add("name");
    field("name").focus();
    check().catch(() => {});
  });

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    clearTimeout(timer);
    await busy(form.querySelector(".hire-send"), async () => {
      if ((await check(true)).length) {
        form.querySelector("[aria-invalid=true]")?.focus();
        return;
      }
      try {
        const { employee } = await send("POST", api, wish());
        begin(employee);
      } catch (error) {
        if (!error.violations?.length) throw error;
        tell([{ field: "form", message: showErrors(form, error) || error.sentence }], true);
      }
    });
  });

  function begin(employee) {
    place.replaceChildren(document.getElementById("hire-steps").content.cloneNode(true));
    place.hidden = false;
    form.hidden = true;
    if (dialog) dialog.querySelector("h2").textContent = TEXT.started(employee.name);
    else history.replaceState(null, "", `/hire/${employee.id}`);
    steps = follow(place.querySelector(".hire-steps"), root.dataset.customer, employee);
    place.querySelector("[data-closes]").focus();
  }

  /** Forgets a hire that is done, for the next one. */
  function renew() {
    if (!steps?.ready()) return;
    steps.stop();
    steps = null;
    place.hidden = true;
    form.hidden = false;
    form.reset();
    touched.clear();
    tell([]);
    dialog.querySelector("h2").textContent = TEXT.title;
  }

  for (const opener of openers) {
    opener.addEventListener("click", (event) => {
      if (event.metaKey || event.ctrlKey) return;
      event.preventDefault();
      renew();
      dialog.showModal();
      if (!form.hidden) (form.querySelector("[name=role_id]:checked") ?? form.querySelector("[name=role_id]")).focus();
    });
  }
  dialog?.addEventListener("click", (event) => { if (event.target.closest("a[data-closes]")) event.preventDefault(); });

  const chosen = form.querySelector("[name=role_id]:checked");
  for (const name of ["role", "instructions"]) if (field(name).value && !chosen) touched.add(name);
  return {
    seen(employee) { steps?.seen(employee); },
    seats(free, all) {
      root.querySelector(".seats-left").textContent = TEXT.free(Math.max(free, 0), all);
      if (steps) return;
      root.querySelector(".no-seats").hidden = free > 0;
      form.hidden = free <= 0;
    },
  };
}

/** Shows the steps of a hire as they are taken. */
export function follow(box, customer, employee) {
  const path = `/api/v1/customers/${encodeURIComponent(customer)}/employees/${employee.id}`;
  const get = (selector) => box.querySelector(selector);
  let shown = null;
  let pending = false;
  box.dataset.employee = employee.id;

  async function look() {
    if (pending || document.hidden) return;
    pending = true;
    try { show((await send("GET", `${path}/progress`)).progress); } catch { /* the next look tells */ } finally { pending = false; }
  }

  function show(progress) {
    if (!shown) get("ol").replaceChildren();
    shown = progress;
    const { name } = progress.employee;
    const lead = progress.ready ? TEXT.ready(name) : progress.failed ? TEXT.failed(name) : TEXT.under(name);
    if (get(".lead").textContent !== lead) get(".lead").textContent = lead;
    const list = get("ol");
    progress.steps.forEach((step, at) => {
      const item = list.children[at] ?? list.appendChild(document.createElement("li"));
      if (item.className !== step.state) {
        item.className = step.state;
        item.replaceChildren(t(step.text), hidden({ done: TEXT.done, failed: TEXT.stopped }[step.state] ?? ""));
        const reason = document.createElement("span");
        reason.className = "reason";
        item.append(reason);
      }
      if (step.state === "now") item.setAttribute("aria-current", "step"); else item.removeAttribute("aria-current");
    });
    get(".open").href = `/employees/${progress.employee.id}`;
    get(".open").textContent = TEXT.open(name);
    const was = get(".open").hidden;
    get(".open").hidden = !progress.ready;
    if (was && progress.ready && box.contains(document.activeElement)) get(".open").focus();
    tick();
    if (progress.ready) stop();
  }

  function tick() {
    if (!shown) return;
    const waited = shown.since ? since(shown.since) : since(began);
    shown.steps.forEach((step, at) => {
      const reason = get("ol").children[at]?.querySelector(".reason");
      const text = step.reason && step.state === "now" ? `${step.reason}, ${lasting(waited)}` : step.reason;
      if (reason && reason.textContent !== text) reason.textContent = text;
    });
    const late = !shown.ready && (shown.failed || since(began) > LATE_S && waited > LATE_S);
    const note = get(".late");
    note.hidden = !late || shown.failed;
    note.textContent = TEXT.late;
    if (get(".again")) get(".again").hidden = !late;
  }

  get(".again")?.addEventListener("click", (event) => busy(event.currentTarget, async () => {
    await send("POST", `${path}/retry`, {});
    toast(TEXT.again);
    await look();
  }));

  const began = new Date().toISOString();
  const timers = [setInterval(look, LOOK_MS), setInterval(tick, 1000)];
  const stop = () => timers.forEach(clearInterval);
  look();
  return { stop, ready: () => Boolean(shown?.ready), seen: (other) => other.id === employee.id && look() };
}

function hidden(text) {
  const made = document.createElement("span");
  made.className = "hidden";
  made.textContent = text;
  return made;
}

// On pages of their own: /hire, and /hire/<employee>.
const alone = !document.getElementById("team") && document.querySelector(".hire");
if (alone) {
  const running = alone.querySelector(".hire-steps");
  const hiring = running
    ? follow(running, alone.dataset.customer, { id: running.dataset.employee })
    : startHiring(alone);
  watch(alone.dataset.customer, {
    team: (team) => team.forEach((employee) => hiring.seen(employee)),
    employee: (employee) => hiring.seen(employee),
    seats: (seats) => hiring.seats?.(seats.seats - seats.seats_taken, seats.seats),
  });
}
