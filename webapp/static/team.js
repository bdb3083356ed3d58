// The team, live. A card a person, found by id: what changed is written into its card, and nothing
// else is touched, so that 500 of them stay fluid.
import { busy, money, send, tone } from "./base.js";
import { startHiring } from "./hire.js";
import { lasting, read, since, watch } from "./live.js";
import { order, possible } from "./orders.js";
import { many, t } from "./texts.js";

const TEXT = {
  lost: t("The connection was lost; what you see may be old. Trying again…"),
  seats: (taken, seats) => many(seats, "{taken} of {n} seat taken", "{taken} of {n} seats taken", { taken }),
  answering: t("is answering right now"), ready: t("ready for you"), open: t("Open"), resume: t("Resume"),
  retry: t("Try again"), more: (name) => t("More for {name}", { name }), openName: (name) => t("Open {name}", { name }),
  spent: (spent, budget) => t("{spent} of {budget}", { spent, budget }), unknown: "–",
};
const GROUPS = ["attention", "starting", "work", "asleep", "paused", "retired"];
const FILTERS = { work: ["work", "starting"], asleep: ["asleep"], attention: ["attention"], paused: ["paused"] };
const USAGE_MS = 30_000;
const PICTURE_MS = 10_000;

const main = document.getElementById("team");
const list = document.getElementById("list");
const tools = document.getElementById("tools");
const find = document.getElementById("find");
const menu = document.getElementById("menu");
const api = `/api/v1/customers/${encodeURIComponent(main.dataset.customer)}`;
const cards = new Map(); // id -> {node, parts, employee, text, shown}
let usage = null;
let filter = "all";

// ---- one card --------------------------------------------------------------------------------

function write(node, text) { if (node.textContent !== text) node.textContent = text; }
function mark(node, name, value) { if (node.getAttribute(name) !== value) node.setAttribute(name, value); }
function hide(node, yes) { if (node && node.hidden !== yes) node.hidden = yes; }

function partsOf(node) {
  const get = (selector) => node.querySelector(selector);
  return { thumb: get(".thumb"), use: get("use"), img: get("img"), avatar: get(".avatar"), name: get("h2"),
    role: get(".role"), badge: get(".badge"), detail: get(".detail"), clock: get(".clock"),
    spent: get(".spent"), bar: get("progress"), open: get(".open"), act: get(".act"), more: get(".more") };
}

function take(node) {
  const card = { node, parts: partsOf(node), employee: null, text: "", picture: null };
  // What the server wrote is searched and counted before the stream has spoken.
  card.text = `${card.parts.name.textContent} ${card.parts.role.textContent} ${node.dataset.id}`.toLowerCase();
  cards.set(node.dataset.id, card);
  eyes.observe(node);
  return card;
}

function make(employee) {
  const node = document.getElementById("card").content.firstElementChild.cloneNode(true);
  node.dataset.id = employee.id;
  const card = take(node);
  const { thumb, avatar } = card.parts;
  for (const part of [thumb, avatar]) {
    part.className = part.className.replace(/tone-\d+/, `tone-${tone(employee.id)}`);
  }
  return card;
}

/** Writes what is new about somebody into the card. */
function fill(card, employee) {
  const { node, parts } = card;
  const { group, tone: kind, label, detail } = employee.summary;
  card.employee = employee;
  card.text = `${employee.name} ${employee.role} ${employee.id}`.toLowerCase();
  mark(node, "data-group", group);
  mark(parts.use, "href", `#state-${group}`);
  write(parts.avatar, [...employee.name][0].toUpperCase());
  write(parts.name, employee.name);
  write(parts.role, employee.role);
  mark(parts.badge, "class", `badge dot ${kind}`.trim());
  write(parts.badge, label);
  card.detail = detail;
  mark(parts.clock, "data-since", employee.updated_at ?? "");
  mark(parts.open, "href", `/employees/${employee.id}`);
  mark(parts.open, "aria-label", TEXT.openName(employee.name));
  hide(parts.open, !["running", "paused"].includes(employee.state));
  if (parts.more) mark(parts.more, "aria-label", TEXT.more(employee.name));
  hide(parts.more, possible(employee).length === 0);
  const verb = group === "attention" && employee.state === "running" ? "retry"
    : employee.state === "paused" ? "resume" : "";
  if (parts.act) {
    mark(parts.act, "data-order", verb);
    write(parts.act, verb && TEXT[verb]);
    hide(parts.act, !verb);
  }
  if (group !== "work") clearPicture(card);
  spend(card);
  tick(card);
}

/** What it is doing, and what it costs. */
function spend(card) {
  const { parts, employee } = card;
  const spent = usage?.employees[employee.id];
  const working = employee.summary.group === "work";
  const answering = working && spent?.reserved_usd > 0;
  write(parts.detail, card.detail || (answering ? TEXT.answering : working ? TEXT.ready : ""));
  parts.badge.classList.toggle("live", answering);
  const budget = employee.monthly_budget_usd;
  const amount = spent?.settled_usd ?? 0;
  write(parts.spent, usage && budget !== null ? TEXT.spent(money(amount), money(budget)) : TEXT.unknown);
  const part = usage && budget ? Math.min(amount / budget, 1) : 0;
  if (parts.bar.value !== part) parts.bar.value = part;
  mark(parts.bar, "class", part >= 1 ? "bad" : part >= 0.8 ? "warn" : "");
}

/** Clocks run on those that wait, and on no other card. */
function tick(card) {
  const { clock } = card.parts;
  const from = clock.dataset.since;
  write(clock, card.employee.summary.group === "starting" && from ? lasting(since(from)) : "");
}

// ---- all cards -------------------------------------------------------------------------------

function showTeam(team) {
  const there = new Set(team.map((employee) => employee.id));
  for (const id of [...cards.keys()]) if (!there.has(id)) remove(id);
  for (const employee of team) put(employee);
  arrange();
}

function put(employee) {
  const card = cards.get(employee.id) ?? make(employee);
  if (JSON.stringify(card.employee) === JSON.stringify(employee)) return;
  fill(card, employee);
  if (visible.has(employee.id) && !card.picture) picture(card);
}

function remove(id) {
  const card = cards.get(id);
  if (!card) return;
  eyes.unobserve(card.node);
  clearPicture(card);
  card.node.remove();
  cards.delete(id);
}

const collator = new Intl.Collator(undefined, { sensitivity: "base", numeric: true });
const byName = (a, b) => collator.compare(a.employee.name, b.employee.name) || (a.employee.id < b.employee.id ? -1 : 1);
const spentBy = (card) => usage?.employees[card.employee.id]?.settled_usd ?? 0;
const ORDERS = {
  name: byName,
  state: (a, b) => GROUPS.indexOf(a.employee.summary.group) - GROUPS.indexOf(b.employee.summary.group) || byName(a, b),
  spent: (a, b) => spentBy(b) - spentBy(a) || byName(a, b),
  newest: (a, b) => (b.employee.updated_at ?? "9").localeCompare(a.employee.updated_at ?? "9") || byName(a, b),
};

/** Puts the cards into order and hides who was not asked for; moves only what is out of place. */
function arrange() {
  const compare = ORDERS[tools.elements.sort.value];
  const left = (card) => card.employee.state === "retired";
  const sorted = [...cards.values()].sort((a, b) => left(a) - left(b) || compare(a, b));
  let before = null;
  for (const { node } of sorted) {
    const place = before ? before.nextElementSibling : list.firstElementChild;
    if (place !== node) list.insertBefore(node, place);
    before = node;
  }
  choose();
  count();
}

function choose() {
  const words = find.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const { node, text } of cards.values()) {
    const fits = (filter === "all" || FILTERS[filter].includes(node.dataset.group))
      && words.every((word) => text.includes(word));
    hide(node, !fits);
    shown += fits;
  }
  hide(tools, cards.size === 0);
  hide(document.getElementById("nobody"), cards.size > 0);
  hide(document.getElementById("nothing"), shown > 0 || cards.size === 0);
}

function count() {
  const counts = { all: cards.size };
  for (const { node: { dataset: { group } } } of cards.values()) {
    for (const [name, groups] of Object.entries(FILTERS)) if (groups.includes(group)) counts[name] = (counts[name] ?? 0) + 1;
  }
  for (const button of tools.querySelectorAll("[data-filter]")) {
    write(button.querySelector(".count"), String(counts[button.dataset.filter] ?? 0));
  }
}

function showSeats(seats) {
  write(document.getElementById("seats"), TEXT.seats(seats.seats_taken, seats.seats));
  hide(document.getElementById("suspended"), !seats.suspended);
  hiring?.seats(seats.seats - seats.seats_taken, seats.seats);
}

/** A server that does not tell of seats tells of the whole team. */
function seatsOf(team) {
  const taken = team.filter((e) => ["running", "paused"].includes(e.state)).length;
  return { seats: Number(main.dataset.seats), seats_taken: taken, suspended: !document.getElementById("suspended").hidden };
}

// ---- pictures of their screens ---------------------------------------------------------------

const visible = new Set();
const eyes = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const id = entry.target.dataset.id;
    if (entry.isIntersecting) { visible.add(id); picture(cards.get(id)); } else visible.delete(id);
  }
});

function clearPicture(card) {
  if (!card.picture) return;
  URL.revokeObjectURL(card.picture);
  card.picture = null;
  card.etag = null;
  hide(card.parts.img, true);
  card.parts.img.removeAttribute("src");
}

async function picture(card) {
  if (!card?.employee || card.employee.summary.group !== "work" || document.hidden || card.asking) return;
  card.asking = true;
  try {
    const answer = await fetch(`${api}/employees/${card.employee.id}/thumbnail`, { cache: "no-cache" });
    const tag = answer.headers.get("ETag");
    if (answer.status !== 200) clearPicture(card);
    else if (tag === null || tag !== card.etag) {
      const url = URL.createObjectURL(await answer.blob());
      clearPicture(card);
      Object.assign(card, { picture: url, etag: tag });
      card.parts.img.src = url;
      hide(card.parts.img, false);
    }
  } catch { /* the stream says that the connection is gone */ } finally { card.asking = false; }
}

async function readUsage() {
  if (document.hidden) return;
  try { usage = await send("GET", `${api}/usage`); } catch { usage = null; }
  for (const card of cards.values()) if (card.employee) spend(card);
  if (tools.elements.sort.value === "spent") arrange();
}

// ---- what people do --------------------------------------------------------------------------

const remembered = new URLSearchParams(location.search);
find.value = remembered.get("q") ?? "";
if (ORDERS[remembered.get("sort")]) tools.elements.sort.value = remembered.get("sort");
if (FILTERS[remembered.get("show")]) press(remembered.get("show"));

function press(name) {
  filter = name;
  for (const button of tools.querySelectorAll("[data-filter]")) {
    mark(button, "aria-pressed", String(button.dataset.filter === name));
  }
}

function remember() {
  const url = new URL(location.href);
  for (const [name, value, usual] of [["q", find.value, ""], ["show", filter, "all"], ["sort", tools.elements.sort.value, "name"]]) {
    if (value === usual) url.searchParams.delete(name); else url.searchParams.set(name, value);
  }
  history.replaceState(null, "", url);
}

find.addEventListener("input", () => { choose(); remember(); });
tools.addEventListener("submit", (event) => event.preventDefault());
tools.addEventListener("change", () => { arrange(); remember(); });
tools.addEventListener("click", (event) => {
  const button = event.target.closest("[data-filter]");
  if (button) { press(button.dataset.filter); choose(); remember(); }
});
document.getElementById("show-all").addEventListener("click", () => {
  find.value = "";
  press("all");
  choose();
  remember();
  find.focus();
});

/** Somebody pressed before the stream has spoken: the person is asked for. */
async function known(card) {
  if (!card.employee) fill(card, read((await send("GET", `${api}/employees/${card.node.dataset.id}`)).employee));
  return card.employee;
}

const give = (button, verb, card) => busy(button, async () => {
  const employee = await known(card);
  return order(verb, employee, Number(main.dataset.grace), employee.summary.group === "work");
});
const cardOf = (node) => cards.get(node.closest("[data-id]")?.dataset.id);

list.addEventListener("click", (event) => {
  const act = event.target.closest(".act");
  if (act) give(act, act.dataset.order, cardOf(act));
  const more = event.target.closest(".more");
  if (more) busy(more, () => openMenu(more));
});

let asked = null;
async function openMenu(more) {
  const card = cardOf(more);
  const orders = possible(await known(card));
  asked = { more, card };
  for (const item of menu.querySelectorAll("[data-order]")) item.hidden = !orders.includes(item.dataset.order);
  menu.showPopover();
  const at = more.getBoundingClientRect();
  const below = at.bottom + menu.offsetHeight + 8 < innerHeight;
  menu.style.top = `${below ? at.bottom + 4 : Math.max(8, at.top - menu.offsetHeight - 4)}px`;
  menu.style.left = `${Math.max(8, at.right - menu.offsetWidth)}px`;
  menu.querySelector("[data-order]:not([hidden])")?.focus();
}

menu?.addEventListener("click", (event) => {
  const item = event.target.closest("[data-order]");
  if (!item) return;
  menu.hidePopover();
  give(asked.more, item.dataset.order, asked.card);
});
menu?.addEventListener("toggle", (event) => { if (event.newState === "closed") asked?.more.focus(); });
menu?.addEventListener("keydown", (event) => {
  const items = [...menu.querySelectorAll("[data-order]:not([hidden])")];
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  items[(items.indexOf(document.activeElement) + step + items.length) % items.length].focus();
});
addEventListener("scroll", () => menu?.matches(":popover-open") && menu.hidePopover(), { passive: true });

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, textarea, select, dialog, [popover]");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    find.focus();
  }
  const from = event.target.closest?.("#list .open");
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!from || !step) return;
  const links = [...list.querySelectorAll(".employee:not([hidden]) .open:not([hidden])")];
  event.preventDefault();
  links[links.indexOf(from) + step]?.focus();
});

// ---- live ------------------------------------------------------------------------------------

const hiring = startHiring(document.querySelector("#hire-dialog .hire"), {
  dialog: document.getElementById("hire-dialog"),
  openers: document.querySelectorAll("#hire, [data-hires]"),
});
for (const node of list.children) take(node);
choose();
count();

watch(main.dataset.customer, {
  team(team) {
    showTeam(team);
    showSeats(seatsOf(team));
    for (const employee of team) hiring?.seen(employee);
  },
  employee(employee) { put(employee); arrange(); hiring?.seen(employee); },
  gone(id) { remove(id); arrange(); },
  seats(seats) { main.dataset.seats = seats.seats; showSeats(seats); },
  connected(yes) {
    const line = document.getElementById("connection");
    write(line, yes ? "" : TEXT.lost);
    hide(line, yes);
  },
});
readUsage();
setInterval(readUsage, USAGE_MS);
setInterval(() => { for (const id of visible) picture(cards.get(id)); }, PICTURE_MS);
setInterval(() => {
  for (const card of cards.values()) if (card.employee?.summary.group === "starting") tick(card);
}, 1000);
