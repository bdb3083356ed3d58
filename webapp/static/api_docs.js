// The API reference: search as you type, a button that copies, and where one is.
import { toast } from "./base.js";
import { many, t } from "./texts.js";

const TEXT = { copied: t("Copied."), matches: (n) => many(n, "{n} call matches", "{n} calls match") };
const find = document.getElementById("find");
const marked = [...document.querySelectorAll("[data-words]")];

function search() {
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const item of marked) item.hidden = !words.every((word) => item.dataset.words.includes(word));
  for (const group of document.querySelectorAll(".group, #calls details")) {
    if (words.length && group.matches("details")) group.open = true;
    group.hidden = words.length > 0 && !group.querySelector("[data-words]:not([hidden])");
  }
  const count = document.querySelectorAll("article:not([hidden])").length;
  document.getElementById("intro").hidden = words.length > 0;
  document.getElementById("nothing").hidden = count > 0;
  document.getElementById("found").textContent = words.length ? TEXT.matches(count) : "";
}
find.addEventListener("input", search);
find.addEventListener("keydown", (event) => {
  if (event.key === "Escape") { find.value = ""; search(); }
  if (event.key === "Enter") document.querySelector("article:not([hidden]) h3 a")?.focus();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.target.matches("input, textarea")) return;
  event.preventDefault();
  find.focus();
});

// A link leads to a call even while the search hides it.
addEventListener("hashchange", () => {
  const call = document.getElementById(location.hash.slice(1));
  if (call?.closest("[hidden]")) { find.value = ""; search(); call.scrollIntoView(); }
});

// On a phone the list begins closed: a search or a group's name opens it.
if (matchMedia("(max-width: 760px)").matches) {
  for (const group of document.querySelectorAll("#calls details")) group.open = false;
}

if (navigator.clipboard) {
  for (const button of document.querySelectorAll("[data-copies]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
      toast(TEXT.copied);
    });
  }
}

const links = new Map([...document.querySelectorAll("#calls a")].map((a) => [a.hash.slice(1), a]));
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    document.querySelector("#calls a[aria-current]")?.removeAttribute("aria-current");
    const link = links.get(entry.target.id);
    link?.setAttribute("aria-current", "true");
    const aside = link?.closest("aside");
    if (aside && aside.scrollHeight > aside.clientHeight && getComputedStyle(aside).position === "sticky") {
      aside.scrollTo({ top: link.offsetTop - aside.clientHeight / 2 });
    }
  }
}, { rootMargin: "-20% 0px -70% 0px" });
for (const call of document.querySelectorAll("article")) seen.observe(call);
