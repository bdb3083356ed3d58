// Settings: asks before a loss, and copies what is shown once.
import { confirmed, toast } from "./base.js";
import { t } from "./texts.js";

const TEXT = { copied: t("Copied."), notCopied: t("The browser does not allow copying: select it and copy it by hand.") };

// On a phone the sections are a row that scrolls: the current one is in sight.
document.querySelector(".settings-nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

for (const form of document.querySelectorAll("form[data-confirm-title]")) {
  form.addEventListener("submit", async (event) => {
    if (form.dataset.confirmedOnce) return;
    event.preventDefault();
    const { confirmTitle: title, confirmText: text, confirmYes: yes } = form.dataset;
    if (await confirmed({ title, text, yes, danger: "confirmDanger" in form.dataset })) {
      form.dataset.confirmedOnce = "1";
      form.requestSubmit();
    }
  });
}

for (const button of document.querySelectorAll("[data-copies]")) {
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copies);
    const parts = source.querySelectorAll("code");
    const text = parts.length ? [...parts].map((p) => p.textContent).join("\n") : source.textContent;
    try {
      await navigator.clipboard.writeText(text);
      toast(TEXT.copied);
    } catch {
      toast(TEXT.notCopied, { kind: "bad" });
    }
  });
}
