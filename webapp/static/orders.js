// What people order of an employee, wherever they do: pause, resume, retry, retire.
import { confirmed, send, toast } from "./base.js";
import { t } from "./texts.js";

const TEXT = {
  pause: (name) => t("{name} is being paused. Everything is kept.", { name }),
  resume: (name) => t("{name} is coming back.", { name }),
  retry: (name) => t("{name} gets a new workplace. Files and memory stay.", { name }),
  retire: (name) => t("{name} has left your team. The seat is free.", { name }),
  retryTitle: (name) => t("Give {name} a new workplace?", { name }),
  retryText: t("What it is doing right now is cut off. Its files, memory and browser stay as they are."),
  retryYes: t("Try again"), title: (name) => t("Retire {name}?", { name }),
  text: (name, days, day) => days
    ? t("{name} stops now, and the seat is free at once. Its files and memory are kept until {day}, then they are removed for good. A retired employee does not come back; you can download its files first.", { name, day })
    : t("{name} stops now, and the seat is free at once. Its files and memory are removed for good. Download its files first if you need them.", { name }),
  yes: t("Retire"), typed: (name) => t("Type {name} to confirm", { name }),
};

/** Which orders make sense for an employee as it is. */
export function possible(employee) {
  if (employee.state === "running") return ["pause", "retry", "retire"];
  return employee.state === "paused" ? ["resume", "retire"] : [];
}

/** Asks first where something is lost; resolves to whether it was ordered. Throws ApiError. */
export async function order(verb, employee, graceDays, working = true) {
  if (verb === "retire" && !await confirmed({
    title: TEXT.title(employee.name), yes: TEXT.yes, typed: employee.name,
    typedLabel: TEXT.typed(employee.name),
    text: TEXT.text(employee.name, graceDays, new Date(Date.now() + graceDays * 864e5)
      .toLocaleDateString(undefined, { dateStyle: "long" })),
  })) return false;
  if (verb === "retry" && working && !await confirmed({
    title: TEXT.retryTitle(employee.name), text: TEXT.retryText, yes: TEXT.retryYes, danger: false,
  })) return false;
  const path = `/api/v1/customers/${encodeURIComponent(employee.customer)}/employees/${employee.id}`;
  await send("POST", `${path}/${verb}`, {});
  toast(TEXT[verb](employee.name));
  return true;
}
