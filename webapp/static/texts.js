// Texts in the page's language. English is written where it is used, and is what is looked up;
// another language's catalogue is loaded before (`/texts/<language>.js`, see webapp/texts.py).
const catalogue = globalThis.iwTexts ?? {};
const rules = new Intl.PluralRules(document.documentElement.lang || "en");
const CATEGORIES = rules.resolvedOptions().pluralCategories;

const fill = (text, values) => text.replace(/\{(\w+)\}/g, (all, name) => (name in values ? String(values[name]) : all));

/** t("Hire {name}", { name }) */
export const t = (text, values = {}) => fill(catalogue[text] ?? text, values);

/** many(2, "{n} seat", "{n} seats"): `n` is written as people of that language write numbers. */
export function many(count, one, other, values = {}) {
  const forms = catalogue[one] ?? [one, other];
  const at = catalogue[one] ? CATEGORIES.indexOf(rules.select(count)) : count === 1 ? 0 : 1;
  return fill(forms[Math.max(at, 0)] ?? forms.at(-1), { n: new Intl.NumberFormat().format(count), ...values });
}
