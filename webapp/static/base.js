// What every page's JavaScript shares. Pages import from here; docs/design.md shows how.
// Texts for people stand at the top, so that they can be translated.
import { t } from "./texts.js";
const TEXT = {
  offline: t("The server can’t be reached. Check your connection and try again; nothing was changed."),
  odd: t("That did not work, and the server did not say why. Try again in a moment."),
  dismiss: t("Dismiss"), cancel: t("Cancel"), now: t("just now"),
};

// ---- talking to the JSON API ----

/** What the API refused: `message` for people; `status`, `code`, `violations` for the page. */
export class ApiError extends Error {
  constructor(status, error) {
    const details = (error.violations ?? []).map((v) => `${v.field} ${v.message}; ${v.fix}`);
    super([error.message || TEXT.odd, ...details].join(" "));
    Object.assign(this, { status, code: error.code, sentence: error.message, violations: error.violations ?? [] });
  }
}

export const csrf = () => document.querySelector('meta[name="csrf-token"]')?.content ?? "";

export function toSignIn() {
  location.assign(`/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
}

/** One call of the JSON API; `body` is JSON unless it is a Blob or FormData. Throws ApiError. */
export async function send(method, path, body, { headers = {}, signal } = {}) {
  const raw = body instanceof Blob || body instanceof FormData;
  const json = body !== undefined && !raw ? { "Content-Type": "application/json" } : {};
  let response;
  try {
    response = await fetch(path, {
      method, signal, body: raw || body === undefined ? body : JSON.stringify(body),
      headers: { Accept: "application/json", "X-CSRF-Token": csrf(), ...json, ...headers },
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { code: "offline", message: TEXT.offline });
  }
  const answer = await response.json().catch(() => null);
  if (response.ok) return answer;
  if (response.status === 401) toSignIn();
  throw new ApiError(response.status, answer?.error ?? {});
}

/** Writes an ApiError's violations beside their fields (`data-error="<name>"` of macro `field`);
 *  returns the sentence for what has no field here, "" if there is none. */
export function showErrors(form, error) {
  clearErrors(form);
  const left = [];
  for (const v of error.violations ?? []) {
    const name = v.field.split(".").pop();
    const place = form.querySelector(`[data-error="${CSS.escape(name)}"]`);
    if (!place) { left.push(`${v.field} ${v.message}; ${v.fix}`); continue; }
    place.textContent = `${v.message}; ${v.fix}`;
    form.elements[name]?.setAttribute?.("aria-invalid", "true");
  }
  form.querySelector("[aria-invalid=true]")?.focus();
  const placed = (error.violations ?? []).length > left.length;
  return placed && !left.length ? "" : [error.sentence ?? error.message, ...left].join(" ");
}

export function clearErrors(form) {
  for (const place of form.querySelectorAll("[data-error]")) place.textContent = "";
  for (const input of form.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
}

// ---- saying things ----

/** A short message at the bottom. `kind`: "" or "bad"; `action`: {text, act}. */
export function toast(text, { kind = "", action, seconds } = {}) {
  const made = element("div", { className: `toast ${kind}` }, element("span", {}, text));
  const leave = () => made.remove();
  const button = element("button", { type: "button" }, action?.text ?? TEXT.dismiss);
  button.addEventListener("click", () => { leave(); action?.act(); });
  made.append(button);
  document.getElementById("toasts").append(made);
  const stay = seconds ?? (kind === "bad" ? 12 : action ? 8 : 5);
  if (stay) setTimeout(leave, stay * 1000);
  return leave;
}

export function bytes(count) {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte"];
  const power = Math.min(Math.floor(Math.log10(Math.max(count, 1)) / 3), 3);
  return new Intl.NumberFormat(undefined, {
    style: "unit", unit: units[power], unitDisplay: power ? "short" : "long", maximumFractionDigits: power > 1 ? 1 : 0,
  }).format(count / 1000 ** power);
}

export const money = (amount, currency = "USD") =>
  new Intl.NumberFormat(undefined, { style: "currency", currency }).format(amount);

// ---- time, in the viewer's zone and language ----

const STYLES = {
  date: { dateStyle: "medium" }, time: { timeStyle: "short" },
  datetime: { dateStyle: "medium", timeStyle: "short" },
};
const STEPS = [["second", 60], ["minute", 60], ["hour", 24], ["day", 7], ["week", 4.35], ["month", 12], ["year", Infinity]];

export function ago(when) {
  let amount = (new Date(when) - Date.now()) / 1000;
  if (Math.abs(amount) < 10) return TEXT.now;
  for (const [unit, size] of STEPS) {
    if (Math.abs(amount) < size) {
      return new Intl.RelativeTimeFormat(undefined, { numeric: "auto" }).format(Math.round(amount), unit);
    }
    amount /= size;
  }
  return "";
}

/** A <time> that says when, and keeps saying it right. */
export function timeElement(when, style = "relative") {
  const made = element("time", { dateTime: when });
  made.dataset.style = style;
  showTime(made);
  return made;
}

function showTime(time) {
  const when = new Date(time.dateTime);
  if (Number.isNaN(when.getTime())) return;
  const style = time.dataset.style ?? "relative";
  const text = style === "relative" ? ago(when) : when.toLocaleString(undefined, STYLES[style] ?? STYLES.datetime);
  if (time.textContent !== text) time.textContent = text;
  if (!time.title) time.title = when.toLocaleString(undefined, { dateStyle: "full", timeStyle: "long" });
}

export function showTimes(root = document) {
  for (const time of root.querySelectorAll("time[datetime]")) showTime(time);
}

// ---- small things for building pages ----

/** element("p", {className: "quiet"}, "text", child): no HTML is ever parsed. */
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** The colour of an avatar; `tone` in webapp/shell.py is its twin. */
export const tone = (id) => [...String(id)].reduce((sum, letter) => sum + letter.codePointAt(0), 0) % 12;

export function avatar(id, name, size = "") {
  const made = element("span", { className: `avatar ${size} tone-${tone(id)}` }, ([...name][0] ?? "?").toUpperCase());
  made.setAttribute("aria-hidden", "true");
  return made;
}

/** Runs `act` while the button shows that it does; an error becomes a toast. */
export async function busy(button, act) {
  if (button.getAttribute("aria-busy") === "true") return undefined;
  button.setAttribute("aria-busy", "true");
  button.setAttribute("aria-disabled", "true");
  try {
    return await act();
  } catch (error) {
    if (!(error instanceof ApiError)) console.error(error);
    toast(error.message, { kind: "bad" });
    return undefined;
  } finally {
    button.removeAttribute("aria-busy");
    button.removeAttribute("aria-disabled");
  }
}

// ---- dialogs ----

export function openDialog(id) {
  const box = document.getElementById(id);
  if (!box.open) box.showModal();
  return box;
}

/** Asks before a loss; true when confirmed. `typed`: what has to be typed first. */
export function confirmed({ title, text, yes, no = TEXT.cancel, danger = true, typed, typedLabel }) {
  return new Promise((resolve) => {
    const box = element("dialog");
    const heading = element("h2", { id: `confirm-${Date.now()}` }, title);
    const input = typed && element("input", { autocomplete: "off", spellcheck: false });
    const go = element("button", { type: "submit", className: danger ? "danger" : "primary" }, yes);
    const stay = element("button", { type: "button" }, no);
    const form = element("form", { className: "dialog-body", method: "dialog" }, heading, element("p", { className: "quiet" }, text));
    if (input) form.append(element("label", {}, typedLabel, input));
    form.append(element("div", { className: "dialog-foot" }, stay, go));
    box.setAttribute("aria-labelledby", heading.id);
    box.append(form);
    const right = () => !input || input.value.trim() === typed;
    if (input) {
      go.disabled = true;
      input.addEventListener("input", () => { go.disabled = !right(); });
    }
    let answer = false;
    form.addEventListener("submit", (event) => { event.preventDefault(); if (right()) { answer = true; box.close(); } });
    stay.addEventListener("click", () => box.close());
    box.addEventListener("close", () => { box.remove(); resolve(answer); });
    document.body.append(box);
    box.showModal();
    (input ?? stay).focus();
  });
}

// ---- what works on every page by its marks alone ----

/** Tabs by ARIA: [role=tablist] > [role=tab][aria-controls]. Says "tab-shown" on the tablist. */
export function showTab(tab) {
  const list = tab.closest("[role=tablist]");
  for (const each of list.querySelectorAll("[role=tab]")) {
    const chosen = each === tab;
    each.setAttribute("aria-selected", String(chosen));
    each.tabIndex = chosen ? 0 : -1;
    const panel = document.getElementById(each.getAttribute("aria-controls"));
    if (panel && !list.hasAttribute("data-by-css")) panel.hidden = !chosen;
  }
  list.dispatchEvent(new CustomEvent("tab-shown", { bubbles: true, detail: tab }));
}

document.addEventListener("click", (event) => {
  const target = event.target instanceof Element ? event.target : null;
  const tab = target?.closest("[role=tablist] [role=tab]");
  if (tab) showTab(tab);
  const opener = target?.closest("[data-opens]");
  if (opener) openDialog(opener.dataset.opens);
  if (target?.closest("[data-closes]")) target.closest("dialog")?.close();
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(target) || target?.closest(".menu-list :is(a, button)")) menu.open = false;
  }
});

document.addEventListener("keydown", (event) => {
  const tab = event.target instanceof Element && event.target.closest("[role=tablist] [role=tab]");
  if (tab) {
    const tabs = [...tab.closest("[role=tablist]").querySelectorAll("[role=tab]:not([hidden])")];
    const at = tabs.indexOf(tab);
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (next !== undefined) {
      event.preventDefault();
      const chosen = tabs[(next + tabs.length) % tabs.length];
      showTab(chosen);
      chosen.focus();
    }
  }
  if (event.key === "Escape") {
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  }
});

// A form sent once is sent once: its button is busy until the next page is there.
document.addEventListener("submit", (event) => {
  if (event.defaultPrevented || event.target.method === "dialog") return;
  if (event.target.action.endsWith("/sign-out")) {
    // Unfinished answers (draft.js) are of no concern to whoever signs in next.
    for (const key of Object.keys(localStorage)) if (key.startsWith("iw.onboarding.")) localStorage.removeItem(key);
  }
  if (event.target.dataset.sent) { event.preventDefault(); return; }
  event.target.dataset.sent = "1";
  event.submitter?.setAttribute("aria-busy", "true");
});
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) {
    delete form.dataset.sent;
    for (const button of form.querySelectorAll("[aria-busy]")) button.removeAttribute("aria-busy");
  }
});

// A button inside an aria-disabled state does nothing.
document.addEventListener("click", (event) => {
  if (event.target instanceof Element && event.target.closest("button[aria-disabled=true]")) {
    event.preventDefault();
    event.stopImmediatePropagation();
  }
}, true);

showTimes();
setInterval(showTimes, 30_000);
new MutationObserver((changes) => {
  for (const change of changes) for (const node of change.addedNodes) {
    if (node instanceof Element) { if (node.matches("time[datetime]")) showTime(node); else showTimes(node); }
  }
}).observe(document.body, { childList: true, subtree: true });
