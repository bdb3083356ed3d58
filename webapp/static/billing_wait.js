// Back from the checkout: asks each second what is known, says it, and never claims more.
import { many, t } from "./texts.js";
const TEXT = {
  waited: (s) => (s < 2 ? "" : many(s, "Waiting for {n} second.", "Waiting for {n} seconds.")),
  paid: t("Your payment is confirmed."), ready: t("Your seats can be used."),
  done: t("Your seats are ready"), free: (n) => many(n, "{n} seat is free", "{n} seats are free"),
};
const LATE_S = 20;
const main = document.getElementById("wait");
const began = performance.now();
const step = (name) => main.querySelector(`[data-step="${name}"]`);
const say = (text) => { document.getElementById("wait-status").textContent = text; };

function mark(name, next) {
  step(name).className = "done";
  step(name).removeAttribute("aria-current");
  step(name).querySelector(".reason")?.remove();
  if (next && step(next).className !== "done") {
    step(next).className = "now";
    step(next).setAttribute("aria-current", "step");
  }
}

function finish(state) {
  mark("paid");
  mark("ready");
  document.getElementById("wait-title").textContent = TEXT.done;
  document.getElementById("wait-clock").textContent = TEXT.free(state.seats - state.seats_taken);
  document.getElementById("wait-late").hidden = true;
  document.getElementById("wait-done").hidden = false;
  say(TEXT.ready);
}

async function look() {
  const seconds = Math.floor((performance.now() - began) / 1000);
  document.getElementById("wait-clock").textContent = TEXT.waited(seconds);
  document.getElementById("wait-late").hidden = seconds < LATE_S;
  try {
    const answer = await fetch(main.dataset.state, { headers: { Accept: "application/json" } });
    if (answer.status === 401) { location.assign(`/sign-in?next=${encodeURIComponent(location.pathname)}`); return; }
    const state = await answer.json();
    if (state.ready) { finish(state); return; }
    if (state.paid) { mark("paid", "ready"); say(TEXT.paid); }
  } catch { /* it is asked again */ }
  setTimeout(look, seconds < 30 ? 1000 : 5000);
}
look();
