// The pages about money: counts whom to pause, and names months in the viewer's language.
import { t } from "./texts.js";
const TEXT = {
  more: (n) => t("Choose {n} more, or the newest are paused after the grace.", { n }),
  fewer: (n) => t("{n} more than needed: everybody ticked up to the number is paused, the newest first.", { n }),
  right: t("That is the right number."),
};

for (const form of document.querySelectorAll("form[data-choose]")) {
  const wanted = Number(form.dataset.choose);
  const line = form.querySelector("[data-count]");
  const count = () => {
    const left = wanted - form.querySelectorAll('[name="pause"]:checked').length;
    line.textContent = left > 0 ? TEXT.more(left) : left < 0 ? TEXT.fewer(-left) : TEXT.right;
  };
  form.addEventListener("change", count);
  count();
}

for (const option of document.querySelectorAll("option[data-month]")) {
  const [year, month] = option.value.split("-").map(Number);
  option.textContent = new Date(year, month - 1, 1).toLocaleDateString(undefined, { month: "long", year: "numeric" });
}
const month = document.getElementById("month");
month?.addEventListener("change", () => month.form.requestSubmit());
