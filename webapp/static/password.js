// How good a new password is, said as one types: asked of the server, so that the page and the
// server never disagree. Also fills in the browser's time zone where a form wants it.
import { send } from "./base.js";

const PAUSE_MS = 350;

for (const field of document.querySelectorAll("[data-time-zone]")) {
  if (!field.value) field.value = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "";
}

for (const box of document.querySelectorAll(".new-password")) {
  const input = box.querySelector("input[type=password]");
  const meter = box.querySelector(".strength");
  const bar = meter.querySelector("progress");
  const told = meter.querySelector("[data-told]");
  const form = box.closest("form");
  let timer = 0;
  let asked = null;

  async function judge() {
    asked?.abort();
    asked = new AbortController();
    const about = (box.dataset.about ?? "").split(" ").map((name) => form.elements[name]?.value.trim().slice(0, 254))
      .filter(Boolean);
    try {
      const answer = await send("POST", "/api/v1/passwords/judge", { password: input.value, about }, { signal: asked.signal });
      bar.value = answer.good ? answer.score : Math.max(Math.min(answer.score, 2), 0.4);
      bar.dataset.score = Math.floor(bar.value);
      told.textContent = answer.told;
      told.className = answer.good ? "small quiet" : "small error";
      meter.hidden = !input.value;
    } catch (error) {
      if (error.name !== "AbortError") meter.hidden = true;  // a hint less: the server judges anyway
    }
  }
  input.addEventListener("input", () => {
    clearTimeout(timer);
    if (!input.value) { meter.hidden = true; return; }
    box.querySelector("[data-error]").textContent = "";
    input.removeAttribute("aria-invalid");
    timer = setTimeout(judge, PAUSE_MS);
  });
}
