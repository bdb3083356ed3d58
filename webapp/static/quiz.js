// Taking a quiz: the employee thinks, the page says since when, and a lost network or a closed page
// loses nothing: the result is kept by the server, and shown when it is there.
import { busy, send } from "./base.js";
import { forget } from "./draft.js";
import { t } from "./texts.js";

const TEXT = {
  asking: (name, s) => t("{name} is answering… {s} s", { name, s }),
  text: t("It may look into your documents first. Usually this takes under a minute, at most four. You can leave this page: the result is kept."),
  waiting: t("The connection was lost. The quiz goes on; its result is fetched when you are back."),
};
const LOOK_MS = 3000;

const root = document.getElementById("quiz");
const part = (id) => document.getElementById(id);
const { customer, employee, name } = root.dataset;
const path = `/api/v1/customers/${encodeURIComponent(customer)}/employees/${encodeURIComponent(employee)}/quiz`;

function wait(since) {
  part("waiting").hidden = false;
  part("results").hidden = true;
  part("problem").hidden = true;
  part("waiting-text").textContent = TEXT.text;
  // The clock is not read out every second.
  const tick = () => { part("waiting-title").textContent = TEXT.asking(name, Math.max(0, Math.round((Date.now() - since) / 1000))); };
  part("waiting").setAttribute("aria-live", "off");
  tick();
  return setInterval(tick, 1000);
}

async function poll() {
  try {
    const { quizzes } = await send("GET", path);
    part("waiting-text").textContent = TEXT.text;
    if (quizzes[0]?.state !== "asking") { location.reload(); return; }
  } catch (error) {
    if (error.code === "offline") part("waiting-text").textContent = TEXT.waiting;
  }
  setTimeout(poll, LOOK_MS);
}

for (const form of document.querySelectorAll("form.take")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const clock = wait(Date.now());
    part("quiz-title").focus();
    try {
      await send("POST", path, {});
      location.reload();
    } catch (error) {
      if (["offline", "already"].includes(error.code)) { part("waiting-text").textContent = TEXT.waiting; setTimeout(poll, LOOK_MS); return; }
      clearInterval(clock);
      part("waiting").hidden = true;
      part("results").hidden = false;
      part("problem").hidden = false;
      part("problem").textContent = error.message;
    }
  });
}

const done = async () => { await send("DELETE", `/api/v1/customers/${encodeURIComponent(customer)}/onboarding`); forget(root.dataset.account, customer); };
part("finish")?.addEventListener("click", () => busy(part("finish"), async () => { await done(); location.assign(`/employees/${employee}`); }));
// With a result the onboarding is over, whatever is pressed next.
if (root.dataset.first && root.dataset.state === "taken") done().catch(() => {});
if (root.dataset.state === "asking") { wait(new Date(root.dataset.since).getTime()); setTimeout(poll, LOOK_MS); }
