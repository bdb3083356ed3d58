// The Knowledge page: documents, their state in plain words, search in their text.
import { bytes, confirmed, element, openDialog, send, timeElement, toast } from "./base.js";
import { Uploads } from "./uploads.js";
import { many, t } from "./texts.js";

const TEXT = {
  extracted: t("Yes"), truncated: t("Yes, its beginning"), reading: t("Being read…"), at: (n, of) => t("Page {n} of {of} is being read…", { n, of }), failed: t("No"),
  left: (left, all) => t("{left} of {all} left", { left: bytes(left), all: bytes(all) }),
  away: (why, s) => many(s, "{why} Trying again in {n} second.", "{why} Trying again in {n} seconds.", { why }),
  making: (s) => t("Your shared folder is being made; that takes a few seconds after sign-up.")
    + many(s, " Looking again in {n} second.", " Looking again in {n} seconds."),
  by: (who) => t(" by {who}", { who }), name: t("Its name matches."), page: (n) => t("Page {n}", { n }), line: (n) => t("line {n}", { n }),
  found: (lines, documents) => t("{lines} in {documents}", {
    lines: many(lines, "{n} line", "{n} lines"), documents: many(documents, "{n} document", "{n} documents") }),
  some: (words, told) => t("No document holds all of these words: {words}. The nearest: {told}", { words, told }),
  nothing: (words) => t("Nothing holds any of these words: {words}. Try other words, or a part of one.", { words }),
  cut: t("Only the beginning is shown. Download the document to see all of it."),
  guessed: (encoding) => t("Its encoding was guessed: {encoding}. If words look wrong, say which one it is.", { encoding }),
  encoding: (name) => t("Encoding of {name}", { name }), unsaid: t("Find it out"), again: (name) => t("{name} was read again.", { name }),
  show: t("Show the text of"), download: t("Download"), remove: t("Remove"),
  sure: (name) => t("Remove {name}?", { name }), yes: t("Remove"),
  loss: t("Employees can’t look anything up in it any more, from their next answer on. This can’t be undone: download it first if you have no other copy."),
  removed: (name) => t("{name} was removed.", { name }),
  held: (when) => t("A backup of {when} still holds it.", { when }),
  versions: (n) => many(n, "{n} earlier version of", "{n} earlier versions of"), looking: t("Looking…"),
  fetching: t("The page is being fetched…"), fetched: (name) => t("{name} was fetched.", { name }),
  refresh: t("Fetch again"), from: t("From "),
  none: t("There are none any more."), until: t("until "), bringBack: t("Bring back"),
  back: (name) => t("{name} is again what it was. What it was until now is kept.", { name }),
};
// What texts of the last decades are in, most used first.
const ENCODINGS = { "utf-8": "UTF-8", "cp1252": t("Windows, Western Europe"), "iso8859-15": t("ISO 8859-15, Western Europe with €"),
  "cp1250": t("Windows, Central Europe"), "iso8859-2": t("ISO 8859-2, Central Europe"), "cp1251": t("Windows, Cyrillic"), "koi8-r": t("KOI8-R, Russian"),
  "cp1253": t("Windows, Greek"), "cp1254": t("Windows, Turkish"), "cp1255": t("Windows, Hebrew"), "cp1256": t("Windows, Arabic"),
  "gb18030": t("GB18030, Chinese (simplified)"), "big5": t("Big5, Chinese (traditional)"), "cp932": t("Shift JIS, Japanese"), "euc_jp": t("EUC, Japanese"),
  "cp949": t("Korean"), "cp874": t("Thai"), "utf-16": "UTF-16", "mac-roman": t("Old Macintosh"), "cp850": t("DOS, Western Europe") };
const MOST_SHOWN = 200_000; // characters of a text

const root = document.getElementById("knowledge");
const part = (id) => document.getElementById(id);
const base = `/api/v1/customers/${encodeURIComponent(root.dataset.customer)}/knowledge`;
const mayChange = root.dataset.mayChange === "yes";
let known = null;
let asked = 0;
let soon;

async function load() {
  const number = ++asked;
  try {
    const answer = await send("GET", base);
    if (number !== asked) return;
    known = answer;
    show();
    clearTimeout(soon);
    if (known.documents.some((d) => d.state === "reading")) soon = setTimeout(load, 2000);
  } catch (error) {
    if (number === asked) again(error, 5);
  }
}

/** What can't be had says why, counts down, and is asked for again. */
function again(error, seconds) {
  const line = part("state");
  const number = asked;
  line.hidden = false;
  line.classList.toggle("warn", error.status !== 404);
  const tick = (left) => {
    if (number !== asked) return;
    line.textContent = error.status === 404 ? TEXT.making(left) : TEXT.away(error.sentence ?? error.message, left);
    if (left > 0) setTimeout(tick, 1000, left - 1); else load();
  };
  tick(seconds);
}

function show() {
  const { documents, bytes: used, max_bytes: all } = known;
  part("state").hidden = true;
  part("meter").hidden = false;
  part("left").textContent = TEXT.left(Math.max(all - used, 0), all);
  part("used").value = Math.min(100, 100 * used / all);
  part("used").className = used > 0.95 * all ? "bad" : used > 0.8 * all ? "warn" : "";
  part("library").hidden = !documents.length;
  part("nothing").hidden = Boolean(documents.length);
  const at = document.activeElement?.closest?.("tr")?.dataset.name;
  const label = document.activeElement?.getAttribute("aria-label");
  part("documents").replaceChildren(...documents.map(row));
  if (at) [...part("documents").querySelectorAll("button, a")].find((one) => one.getAttribute("aria-label") === label)?.focus();
}

function row(document) {
  const cell = (label, ...children) => { const made = element("td", {}, ...children); made.dataset.label = label; return made; };
  const kind = { extracted: "good", failed: "warn", reading: "" }[document.state];
  const state = cell("", element("span", { className: `badge dot ${kind} ${document.state === "reading" ? "live" : ""}` },
    document.page ? TEXT.at(...document.page) : document.truncated ? TEXT.truncated : TEXT[document.state]));
  if (document.why) state.append(element("p", { className: "why" }, document.why));
  for (const what of document.left_out ?? []) state.append(element("p", { className: "why" }, what));
  if (document.guessed) state.append(element("p", { className: "why" }, TEXT.guessed(document.encoding)));
  if (mayChange && (document.guessed || document.said_encoding)) state.append(choice(document));
  const name = element("td", { className: "name-cell" }, element("span", { className: "strong" }, document.name));
  if (document.address) name.append(element("p", { className: "quiet small" }, TEXT.from, element("a", { href: document.address, rel: "noopener noreferrer", target: "_blank" }, document.address)));
  if (document.begins) name.append(element("p", { className: "quiet small" }, document.begins));
  const when = cell("", timeElement(document.uploaded));
  if (document.by) when.append(element("span", { className: "quiet small" }, TEXT.by(document.by)));
  const size = cell("", bytes(document.size));
  size.className = "number quiet";
  const actions = element("div", { className: "doc-actions" });
  if (document.state === "extracted") actions.append(action("button", "text", `${TEXT.show} ${document.name}`, () => showText(document.name)));
  const download = action("a", "download", `${TEXT.download} ${document.name}`);
  download.href = `${base}/content?name=${encodeURIComponent(document.name)}`;
  download.download = document.name;
  actions.append(download);
  if (document.versions) actions.append(action("button", "versions", `${TEXT.versions(document.versions)} ${document.name}`, () => showVersions(document.name)));
  if (mayChange && document.address) actions.append(action("button", "refresh", `${TEXT.refresh} ${document.name}`, () => fetchAgain(document)));
  if (mayChange) actions.append(action("button", "remove", `${TEXT.remove} ${document.name}`, () => remove(document.name)));
  const made = element("tr", {}, name, state, when, size, element("td", {}, actions));
  made.dataset.name = document.name;
  return made;
}

/** Which encoding a text is in: a person knows it better than a guess. */
function choice(document) {
  const chosen = document.said_encoding;
  const names = chosen && !(chosen in ENCODINGS) ? { [chosen]: chosen, ...ENCODINGS } : ENCODINGS;
  const made = element("select", { className: "small" }, element("option", { value: "" }, TEXT.unsaid),
    ...Object.entries(names).map(([value, label]) => element("option", { value, selected: value === chosen }, label)));
  made.setAttribute("aria-label", TEXT.encoding(document.name));
  made.addEventListener("change", async () => {
    made.disabled = true;
    made.parentElement.querySelector(".badge").textContent = TEXT.reading;
    const query = new URLSearchParams({ name: document.name, encoding: made.value });
    try {
      await send("POST", `${base}/text?${query}`);
      toast(TEXT.again(document.name));
    } catch (error) {
      toast(error.message, { kind: "bad" });
    }
    await load();
  });
  return made;
}

function action(kind, icon, label, act) {
  const made = element(kind, { className: kind === "a" ? "button quiet" : "quiet icon-only", title: label });
  if (kind === "button") made.type = "button";
  made.setAttribute("aria-label", label);
  made.append(part("icons").content.querySelector(`[data-icon=${icon}] svg`).cloneNode(true));
  if (act) made.addEventListener("click", act);
  return made;
}

async function showText(name) {
  part("text").textContent = "…";
  part("text-dialog-title").textContent = name;
  openDialog("text-dialog");
  try {
    const response = await fetch(`${base}/text?name=${encodeURIComponent(name)}`);
    const text = await response.text();
    if (!response.ok) throw new Error(JSON.parse(text).error.message);
    part("text").textContent = text.slice(0, MOST_SHOWN) + (text.length > MOST_SHOWN ? `\n\n${TEXT.cut}` : "");
  } catch (error) {
    part("text").textContent = error.message;
  }
}

async function showVersions(name) {
  const state = part("versions-state");
  part("versions-dialog-title").textContent = name;
  part("versions").replaceChildren();
  state.textContent = TEXT.looking;
  openDialog("versions-dialog");
  try {
    const { versions } = await send("GET", `${base}/versions?name=${encodeURIComponent(name)}`);
    state.textContent = versions.length ? "" : TEXT.none;
    part("versions").replaceChildren(...versions.map((one) => version(name, one)));
  } catch (error) {
    state.textContent = error.message;
  }
}

function version(name, one) {
  const query = new URLSearchParams({ name, version: one.version });
  const said = element("p", {}, timeElement(one.uploaded));
  if (one.by) said.append(element("span", { className: "quiet small" }, TEXT.by(one.by)));
  said.append(element("br"), element("span", { className: "quiet small" }, TEXT.until, timeElement(one.replaced), ` · ${bytes(one.size)}`));
  const actions = element("div", { className: "row" });
  const download = element("a", { className: "button quiet", href: `${base}/content?${query}`, download: name }, TEXT.download);
  actions.append(download);
  if (mayChange) {
    const restore = element("button", { type: "button" }, TEXT.bringBack);
    restore.addEventListener("click", async () => {
      restore.disabled = true;
      part("versions-state").textContent = TEXT.reading;
      try {
        await send("POST", `${base}/restore?${query}`);
        part("versions-dialog").close();
        toast(TEXT.back(name));
        await load();
      } catch (error) {
        restore.disabled = false;
        part("versions-state").textContent = error.message;
      }
    });
    actions.append(restore);
  }
  return element("li", {}, said, actions);
}

// ---- pages of the web ----

async function fetchPage(address) {
  const { document } = await send("POST", `${base}/page?${new URLSearchParams({ address })}`);
  toast(document.state === "failed" ? `${document.name}: ${document.why}` : TEXT.fetched(document.name), document.state === "failed" ? { kind: "bad" } : {});
  await load();
}

async function fetchAgain(document) {
  toast(TEXT.fetching);
  try {
    await fetchPage(document.address);
  } catch (error) {
    toast(error.message, { kind: "bad" });
  }
}

async function addPage(event) {
  event.preventDefault();
  const field = part("address");
  const button = part("web-page").querySelector("button");
  const address = field.value.trim();
  if (!address) { field.focus(); return; }
  button.disabled = true;
  part("web-page-wrong").textContent = "";
  part("uploads-status").textContent = TEXT.fetching;
  button.classList.add("live");
  try {
    await fetchPage(address);
    field.value = "";
  } catch (error) {
    part("web-page-wrong").textContent = error.message;
  }
  button.disabled = false;
  button.classList.remove("live");
  part("uploads-status").textContent = "";
  field.focus();
}

async function remove(name) {
  if (!await confirmed({ title: TEXT.sure(name), text: TEXT.loss, yes: TEXT.yes })) return;
  try {
    const { backup } = await send("DELETE", `${base}/content?name=${encodeURIComponent(name)}`);
    toast(TEXT.removed(name) + (backup ? ` ${TEXT.held(new Date(backup).toLocaleDateString())}` : ""));
    (part("query").offsetParent ? part("query") : part("files"))?.focus();
  } catch (error) {
    toast(error.message, { kind: "bad" });
  }
  await load();
  if (part("query").value) search();
}

// ---- search ----

let searching = null;
async function search() {
  const words = part("query").value.trim();
  searching?.abort();
  part("matches").hidden = !words;
  part("table").hidden = Boolean(words);
  if (!words) { part("found-status").textContent = ""; return; }
  searching = new AbortController();
  try {
    const { matches } = await send("GET", `${base}/search?q=${encodeURIComponent(words)}`, undefined, { signal: searching.signal });
    const byDocument = Map.groupBy ? Map.groupBy(matches, (m) => m.document) : grouped(matches);
    const lines = TEXT.found(matches.length, byDocument.size);
    const told = !matches.length ? TEXT.nothing(words) : matches[0].all_words ? lines : TEXT.some(words, lines);
    part("found-status").textContent = told;
    part("matches").replaceChildren(element("li", { className: "quiet small" }, told),
      ...[...byDocument].map(([name, lines]) => found(name, lines, words)));
  } catch (error) {
    if (error.name !== "AbortError") part("matches").replaceChildren(element("li", { className: "error" }, error.message));
  }
}

function grouped(matches) {
  const made = new Map();
  for (const match of matches) made.set(match.document, [...made.get(match.document) ?? [], match]);
  return made;
}

function found(name, lines, words) {
  const title = element("button", { type: "button", className: "quiet" }, name);
  title.addEventListener("click", () => showText(name));
  return element("li", { className: "card" }, element("h3", {}, title),
    element("ul", { className: "excerpts" }, ...lines.map((match) => element("li", {},
      ...(match.page ? [element("span", { className: "quiet small" }, TEXT.page(match.page)), " "] : []),
      ...(match.excerpt.startsWith(`Source: ${name}`) ? [TEXT.name] : marked(match.excerpt, match.all_words ? words : telling(words)))))));
}

/** Of a question, the words that it was answered by. */
const telling = (question) => question.replace(/[^\p{L}\p{N}\s]/gu, " ").split(/\s+/).filter((word) => word.length > 2).join(" ");

/** The excerpt, with every word that was searched for marked. */
function marked(text, words) {
  const pattern = words.split(/\s+/).map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|");
  return text.split(new RegExp(`(${pattern})`, "gi")).map((piece, index) =>
    index % 2 ? element("mark", {}, piece) : piece);
}

let later;
part("query").addEventListener("input", () => { clearTimeout(later); later = setTimeout(search, 200); });
part("finder").addEventListener("submit", (event) => { event.preventDefault(); search(); });
if (mayChange) {
  part("web-page").addEventListener("submit", addPage);
  new Uploads({ customer: root.dataset.customer, zone: part("zone"), input: part("files"), list: part("uploads"),
    status: part("uploads-status"), limits: () => known, done: load, look: load });
}
addEventListener("online", load);
const asks = new URLSearchParams(location.search).get("q");
if (asks) part("query").value = asks;
load().then(() => { if (asks) search(); });
