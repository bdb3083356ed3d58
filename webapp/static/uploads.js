// Uploading documents: drag and drop, one after the other, with progress, cancel and retry. Shared
// by the Knowledge page and the onboarding.
import { bytes, csrf, element } from "./base.js";
import { many, t } from "./texts.js";

const TEXT = {
  waiting: t("Waiting its turn"), sending: (part) => t("Sending, {part} %", { part }),
  reading: (s) => t("Sent. Its text is being read… {s} s. You can leave this page.", { s }),
  page: (n, of) => t("Sent. Page {n} of {of} is being read… You can leave this page.", { n, of }),
  read: t("Every employee can read it now."),
  partly: t("Every employee can read it now; only its beginning fits."),
  unread: (why) => t("Kept, but its text can’t be read. {why}", { why }),
  cancelled: t("Cancelled. Nothing was kept."),
  lost: t("The connection was lost. It is sent again when you are back online, or press Retry."),
  signedOut: t("You were signed out. Sign in again in another tab, then press Retry."),
  tooLarge: (most) => t("It is larger than {most}. Split it, or upload the part that matters.", { most }),
  empty: t("It is empty."),
  kind: (kind, kinds) => t("Employees can’t read {kind} files. Save it as one of {kinds}, and upload that.", { kind, kinds }),
  noKind: (kinds) => t("Its name has no ending such as .pdf. Employees read {kinds}.", { kinds }),
  noSpace: t("There is no space left for it. Remove documents that nobody needs, then press Retry."),
  there: t("A document with this name is there already."), replace: t("Replace it"), keep: t("Keep the old one"),
  kept: t("Skipped: the document that was there stays."),
  cancel: t("Cancel"), retry: t("Retry"), dismiss: t("Hide"), busy: t("Uploads are not finished yet."),
  settingUp: t("Your company’s shelf is being set up. The document goes there by itself in a moment."),
  odd: t("That did not work. Press Retry; if it fails again, rename the file and try once more."),
  summary: (done, all) => many(all, "{done} of {n} document uploaded", "{done} of {n} documents uploaded", { done }),
};
const SETTING_UP = { every: 2000, tries: 30 };
const READABLE = ["pdf", "docx", "xlsx", "pptx", "odt", "ods", "odp", "rtf", "epub", "eml", "zip", "html", "csv", "md", "txt"];

/** The name under which a file is kept: composed accents, plain blanks. */
const stored = (name) => name.normalize("NFC").replace(/\p{Zs}/gu, " ").trim();

/** `zone`: the label around `input`; `list`: the <ul> of uploads; `limits()`: the API's answer about
 *  the knowledge, if it is known; `done()`: something arrived; `look()`: asks for `limits()` anew. */
export class Uploads {
  constructor({ customer, zone, input, list, status, limits, done, look = async () => {} }) {
    Object.assign(this, { customer, list, status, limits, done, look, queue: [], active: null });
    input.addEventListener("change", () => { this.add(input.files); input.value = ""; });
    for (const name of ["dragenter", "dragover"]) zone.addEventListener(name, (event) => { event.preventDefault(); zone.classList.add("over"); });
    for (const name of ["dragleave", "drop"]) zone.addEventListener(name, (event) => { event.preventDefault(); zone.classList.remove("over"); });
    zone.addEventListener("drop", async (event) => this.add(await dropped(event.dataTransfer)));
    // A document that misses the zone shall not replace the page.
    for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());
    addEventListener("online", () => { for (const item of this.queue) if (item.lost) this.again(item); });
    addEventListener("beforeunload", (event) => { if (this.busy()) event.preventDefault(); });
  }

  busy() {
    return this.queue.some((item) => ["waiting", "sending", "later"].includes(item.state));
  }

  add(files) {
    for (const file of files) {
      const item = { file, state: "waiting", ...row(file) };
      this.queue.push(item);
      this.list.append(item.row);
      const wrong = this.wrong(file);
      if (wrong) this.fail(item, wrong, false);
      else if (this.names().has(stored(file.name))) this.ask(item);
      else this.wait(item);
    }
    this.next();
  }

  names() {
    return new Set((this.limits()?.documents ?? []).map((d) => d.name));
  }

  /** Why a file need not be sent at all. */
  wrong(file) {
    const most = this.limits()?.max_document_bytes ?? 100 * 2 ** 20;
    const readable = this.limits()?.readable ?? READABLE;
    const kinds = READABLE.map((kind) => `.${kind}`).join(", ");
    const dot = file.name.lastIndexOf(".");
    const kind = dot > 0 ? file.name.slice(dot + 1).toLowerCase() : "";
    if (!file.size) return TEXT.empty;
    if (!kind) return TEXT.noKind(kinds);
    if (!readable.includes(kind)) return TEXT.kind(`.${kind}`, kinds);
    return file.size > most ? TEXT.tooLarge(bytes(most)) : "";
  }

  ask(item) {
    item.state = "asking";
    say(item, TEXT.there, "warn", [
      [TEXT.replace, () => { this.wait(item); this.next(); }],
      [TEXT.keep, () => { item.state = "kept"; say(item, TEXT.kept, "", [[TEXT.dismiss, () => this.drop(item)]]); this.told(); }],
    ]);
  }

  wait(item) {
    Object.assign(item, { state: "waiting", lost: false });
    item.bar.hidden = false;
    item.bar.max = 100;
    item.bar.value = 0;
    say(item, TEXT.waiting, "", [[TEXT.cancel, () => this.cancel(item)]]);
  }

  next() {
    this.told();
    if (this.active) return;
    const item = this.queue.find((one) => one.state === "waiting");
    if (item) this.send(item);
  }

  send(item) {
    this.active = item;
    item.state = "sending";
    const xhr = item.xhr = new XMLHttpRequest();
    const over = () => { clearInterval(item.clock); this.active = null; this.next(); };
    xhr.open("PUT", `/api/v1/customers/${encodeURIComponent(this.customer)}/knowledge/content?name=${encodeURIComponent(item.file.name)}`);
    xhr.setRequestHeader("X-CSRF-Token", csrf());
    xhr.responseType = "json";
    say(item, TEXT.sending(0), "", [[TEXT.cancel, () => this.cancel(item)]]);
    xhr.upload.addEventListener("progress", (event) => {
      const part = Math.floor(100 * event.loaded / Math.max(event.total, 1));
      item.bar.value = part;
      if (item.state === "sending") item.text.textContent = TEXT.sending(part);
    });
    xhr.upload.addEventListener("load", () => {
      item.state = "reading";
      item.bar.removeAttribute("value");
      const began = Date.now();
      const tick = () => {
        const seconds = Math.round((Date.now() - began) / 1000);
        const page = this.limits()?.documents?.find((d) => d.name === stored(item.file.name))?.page;
        if (page) { item.bar.max = page[1]; item.bar.value = page[0]; }
        say(item, page ? TEXT.page(...page) : TEXT.reading(seconds));
        if (seconds && seconds % 2 === 0) this.look();
      };
      tick();
      item.clock = setInterval(tick, 1000);
    });
    xhr.addEventListener("load", () => {
      if (xhr.status === 201) this.arrived(item, xhr.response.document);
      else if (xhr.status === 401) this.fail(item, TEXT.signedOut);
      else if (xhr.status === 507) this.fail(item, TEXT.noSpace);
      else if (xhr.response?.error?.code === "not_made_yet" && (item.tries = (item.tries ?? 0) + 1) < SETTING_UP.tries) this.later(item);
      else this.fail(item, xhr.response?.error?.message ?? TEXT.odd);
      over();
    });
    xhr.addEventListener("error", () => { this.fail(item, TEXT.lost); item.lost = true; over(); });
    xhr.addEventListener("abort", over);
    xhr.send(item.file);
  }

  arrived(item, document) {
    item.state = "done";
    item.bar.hidden = true;
    const unread = document.state === "failed";
    say(item, unread ? TEXT.unread(document.why) : document.truncated ? TEXT.partly : TEXT.read,
      unread ? "warn" : "good", [[TEXT.dismiss, () => this.drop(item)]]);
    this.done(document);
  }

  fail(item, why, again = true) {
    item.state = "failed";
    item.bar.hidden = true;
    const hide = [TEXT.dismiss, () => this.drop(item)];
    say(item, why, "bad", again ? [[TEXT.retry, () => this.again(item)], hide] : [hide]);
    this.told();
  }

  /** A company that signed up this minute: its shelf is a few seconds away. */
  later(item) {
    item.state = "later";
    item.bar.removeAttribute("value");
    say(item, TEXT.settingUp, "", [[TEXT.cancel, () => this.cancel(item)]]);
    setTimeout(() => { if (item.state === "later") this.again(item); }, SETTING_UP.every);
  }

  again(item) {
    this.wait(item);
    this.next();
  }

  cancel(item) {
    const running = item.state === "sending";
    item.state = "cancelled";
    item.bar.hidden = true;
    say(item, TEXT.cancelled, "", [[TEXT.retry, () => this.again(item)], [TEXT.dismiss, () => this.drop(item)]]);
    if (running) item.xhr.abort();
    this.told();
  }

  drop(item) {
    this.queue = this.queue.filter((one) => one !== item);
    const near = item.row.nextElementSibling ?? item.row.previousElementSibling;
    item.row.remove();
    near?.querySelector("button")?.focus();
  }

  /** One line for who can't see the list. */
  told() {
    const sent = this.queue.filter((item) => !["failed", "cancelled", "kept"].includes(item.state));
    const done = sent.filter((item) => item.state === "done").length;
    this.status.textContent = sent.length ? TEXT.summary(done, sent.length) : "";
  }
}

/** The files that were dropped, those in folders too, however deep. What hides (.DS_Store) stays out. */
async function dropped(data) {
  const entries = [...data.items ?? []].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...data.files];
  const found = [];
  const walk = async (entry) => {
    if (entry.name.startsWith(".")) return;
    try {
      if (entry.isFile) { found.push(await new Promise((ok, no) => entry.file(ok, no))); return; }
      const reader = entry.createReader();
      // It gives some at a time.
      for (let more; (more = await new Promise((ok, no) => reader.readEntries(ok, no))).length;) {
        for (const one of more) await walk(one);
      }
    } catch {
      found.push(new File([], entry.name)); // the browser may not read it: its row says that nothing came
    }
  };
  for (const entry of entries) await walk(entry);
  return found;
}

function row(file) {
  const made = {
    text: element("p", { className: "small upload-text" }), actions: element("div", { className: "row" }),
    bar: element("progress", { max: 100, value: 0 }),
  };
  made.bar.setAttribute("aria-label", file.name);
  made.row = element("li", { className: "upload" },
    element("div", { className: "row between top" },
      element("div", { className: "grow" },
        element("p", {}, element("span", { className: "strong" }, file.name), " ", element("span", { className: "quiet small" }, bytes(file.size))),
        made.text),
      made.actions),
    made.bar);
  return made;
}

function say(item, text, kind = "", actions = []) {
  item.text.textContent = text;
  item.text.className = `small upload-text ${kind}`;
  const focused = item.actions.contains(document.activeElement);
  item.actions.replaceChildren(...actions.map(([words, act]) => {
    const button = element("button", { type: "button", className: "quiet" }, words, element("span", { className: "hidden" }, ` ${item.file.name}`));
    button.addEventListener("click", act);
    return button;
  }));
  if (focused) item.actions.querySelector("button")?.focus();
}
