// One change: its plan is loaded after the page, for it takes seconds; and nothing is closed unasked.
import { confirmed, element, toSignIn } from "./base.js";
import { t } from "./texts.js";

const TEXT = {
  asking: (s) => t("Asking the engine… {s} s", { s }),
  failed: t("The plan could not be made."),
  offline: t("The server can’t be reached."),
  again: t("Try again"),
  close: { title: t("Close this change?"), text: t("Its branch goes and nothing of it is applied. Its commits and what was said are kept."), yes: t("Close it") },
};

const plan = document.getElementById("plan");
const waiting = document.getElementById("plan-waiting");

async function load() {
  const began = Date.now();
  const state = element("p", { className: "strong" }, TEXT.asking(0));
  const spinner = element("span", { className: "spinner" });
  spinner.setAttribute("aria-hidden", "true");
  waiting.replaceChildren(element("div", { className: "row" }, spinner, state));
  waiting.setAttribute("aria-live", "off"); // the clock is not read out every second
  const clock = setInterval(() => { state.textContent = TEXT.asking(Math.round((Date.now() - began) / 1000)); }, 1000);
  try {
    const response = await fetch(`${plan.dataset.path}?${new URLSearchParams({ name: plan.dataset.name })}`);
    if (response.status === 401) { toSignIn(); return; }
    const isText = response.headers.get("Content-Type")?.startsWith("text/plain");
    if (!response.ok) throw new Error(isText ? await response.text() : TEXT.failed);
    const made = document.createElement("template");
    made.innerHTML = await response.text(); // our own page's part
    waiting.replaceWith(made.content);
  } catch (error) {
    const again = element("button", { type: "button" }, TEXT.again);
    again.addEventListener("click", load);
    const told = error instanceof TypeError ? TEXT.offline : error.message;
    waiting.replaceChildren(element("p", { className: "error" }, told), element("div", { className: "row end" }, again));
    waiting.setAttribute("aria-live", "polite");
  } finally {
    clearInterval(clock);
    plan.removeAttribute("aria-busy");
  }
}

document.addEventListener("submit", async (event) => {
  if (event.target.dataset.confirm !== "close") return;
  event.preventDefault();
  event.stopImmediatePropagation();
  if (await confirmed(TEXT.close)) event.target.submit();
}, true);

load();
