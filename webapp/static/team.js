"use strict";
// The team, live: one stream of events redraws the list; actions go through the public JSON API.
const main = document.getElementById("team");
const list = document.getElementById("list");
const base = `/api/v1/customers/${encodeURIComponent(main.dataset.customer)}/employees`;

async function send(path, body) {
  const response = await fetch(path, {
    method: "POST", body: JSON.stringify(body ?? {}),
    headers: { "Content-Type": "application/json", "X-CSRF-Token": main.dataset.csrf },
  });
  if (response.status === 401) location.href = "/sign-in";
  const answer = await response.json();
  if (!response.ok) {
    const details = answer.error.violations.map((v) => `${v.field} ${v.message}; ${v.fix}`);
    throw new Error([answer.error.message, ...details].join(" "));
  }
  return answer;
}

function button(text, act, kind = "") {
  const made = document.createElement("button");
  made.textContent = text;
  made.className = kind;
  made.addEventListener("click", async () => {
    made.disabled = true;
    try { await act(); } catch (error) { tell(error.message); } finally { made.disabled = false; }
  });
  return made;
}

function link(text, href, kind = "") {
  const made = document.createElement("a");
  made.textContent = text;
  made.href = href;
  made.target = "_blank";
  made.rel = "noopener";
  made.className = `button ${kind}`;
  return made;
}

function tell(text) {
  const line = document.getElementById("connection");
  line.textContent = text;
  line.hidden = !text;
}

function card(e) {
  const made = document.getElementById("employee").content.cloneNode(true);
  const item = made.firstElementChild;
  item.dataset.id = e.id;
  made.querySelector(".avatar").textContent = [...e.name][0].toUpperCase();
  made.querySelector("h2").textContent = e.name;
  made.querySelector(".role").textContent = e.role;
  const health = made.querySelector(".health");
  health.textContent = e.state === "retired" ? "Retired" : e.health_status;
  health.classList.add(e.health_status);
  const reason = made.querySelector(".reason");
  reason.textContent = e.reason ?? "";
  reason.hidden = !e.reason;
  made.querySelector(".sync").textContent =
    `${e.sync_status}${e.revision ? ` at ${e.revision.slice(0, 7)}` : ""} · ${e.id}`;
  const actions = made.querySelector(".actions");
  const path = `${base}/${e.id}`;
  if (e.health_status === "Healthy") {
    actions.append(link("Open", `/employees/${e.id}`, "primary"));
  }
  if (e.state === "running") {
    actions.append(button("Pause", () => send(`${path}/pause`)));
    if (["Degraded", "Missing"].includes(e.health_status)) {
      actions.append(button("Retry", () => send(`${path}/retry`)));
    }
  }
  if (e.state === "paused") actions.append(button("Resume", () => send(`${path}/resume`), "primary"));
  if (["running", "paused"].includes(e.state)) actions.append(button("Retire…", () => retire(e)));
  return made;
}

function show(team) {
  const focused = document.activeElement?.closest?.("li")?.dataset.id;
  const label = document.activeElement?.textContent;
  list.replaceChildren(...team.map(card));
  if (!team.length) {
    const empty = document.createElement("li");
    empty.className = "card empty";
    empty.innerHTML = "<h2>Nobody works here yet</h2><p class='quiet'>Hire your first employee: a name and a job are enough.</p>";
    list.append(empty);
  }
  if (focused) {
    const again = [...list.querySelectorAll(`[data-id="${CSS.escape(focused)}"] :is(a, button)`)];
    (again.find((b) => b.textContent === label) ?? again[0])?.focus();
  }
  const taken = team.filter((e) => ["running", "paused"].includes(e.state)).length;
  document.getElementById("seats").textContent = `${taken} of ${main.dataset.seats} seats taken`;
}

function dialog(name, act) {
  const box = document.getElementById(`${name}-dialog`);
  const form = document.getElementById(`${name}-form`);
  const error = document.getElementById(`${name}-error`);
  document.getElementById(`${name}-cancel`).addEventListener("click", () => box.close());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const submit = form.querySelector("button[value]:not([value=cancel])");
    submit.disabled = true;
    try {
      await act(new FormData(form));
      form.reset();
      box.close();
    } catch (problem) {
      error.textContent = problem.message;
      error.hidden = false;
    } finally { submit.disabled = false; }
  });
  return () => { error.hidden = true; form.reset(); box.showModal(); };
}

const openHire = dialog("hire", (form) => send(base, Object.fromEntries(form)));
document.getElementById("hire").addEventListener("click", openHire);

let leaving = null;
const openRetire = dialog("retire", (form) => {
  if (form.get("confirm").trim() !== leaving.name) throw new Error(`Type ${leaving.name} to confirm.`);
  return send(`${base}/${leaving.id}/retire`);
});
function retire(e) {
  leaving = e;
  openRetire();
  document.getElementById("retire-title").textContent = `Retire ${e.name}`;
  document.getElementById("retire-text").textContent =
    `${e.name} stops now and the seat is free. Its files are kept for the grace period, then removed.`;
}

const stream = new EventSource(`/api/v1/customers/${encodeURIComponent(main.dataset.customer)}/events/stream`);
stream.addEventListener("team", (event) => { tell(""); show(JSON.parse(event.data)); });
stream.addEventListener("error", () => tell("The connection was lost; what you see may be old. Trying again…"));
