// Answers that survive: every change is kept in this browser at once (under the account's id) and
// soon in the account, so that a closed tab, a lost network or another device loses nothing.
//
// `version` counts changes. The server takes a higher one alone. Who is refused has an older copy:
// it takes the newer answers and lays on top what was changed here since both agreed (`base`).
import { csrf } from "./base.js";

const PREFIX = "iw.onboarding.";
const SOON_MS = 400, LONGEST_WAIT_MS = 20_000;

export const forget = (account, customer) => localStorage.removeItem(`${PREFIX}${account}.${customer}`);

/** Everything kept for anybody in this browser: for signing out (base.js does it on other pages). */
export function forgetAll() {
  for (const key of Object.keys(localStorage)) if (key.startsWith(PREFIX)) localStorage.removeItem(key);
}

/** mine and theirs, both made from base. Changed on both sides: theirs wins, unless `mineWins`. */
export function merged(base, mine, theirs, mineWins) {
  const made = { ...theirs };
  for (const name of new Set([...Object.keys(mine), ...Object.keys(base)])) {
    const changedHere = (mine[name] ?? "") !== (base[name] ?? "");
    const changedThere = (theirs[name] ?? "") !== (base[name] ?? "");
    if (changedHere && (mineWins || !changedThere)) made[name] = mine[name] ?? "";
  }
  return made;
}

/** Says "change" (others' answers came in), "state" (saved, saving, offline) and "gone" (finished
 *  or hired elsewhere). */
export class Draft extends EventTarget {
  constructor({ account, customer, saved, step }) {
    super();
    this.key = `${PREFIX}${account}.${customer}`;
    this.url = `/api/v1/customers/${encodeURIComponent(customer)}/onboarding`;
    this.state = "saved";
    const server = saved ?? { version: 0, answers: {}, step };
    const local = this.#read();
    // What was finished elsewhere does not come back to life.
    this.kept = !local || (!saved && local.base.version > 0) ? fresh(server) : chosen(local, server);
    this.#write();
    addEventListener("storage", (event) => this.#elsewhere(event));
    addEventListener("online", () => this.#soon(0));
    addEventListener("pagehide", () => this.#last());
    document.addEventListener("visibilitychange", () => { if (document.hidden) this.#last(); });
    if (this.dirty) this.#soon(0);
  }

  get answers() { return this.kept.answers; }
  get step() { return this.kept.step; }
  get dirty() { return this.kept.version > this.kept.base.version; }

  set(name, value) {
    if ((this.kept.answers[name] ?? "") === value) return;
    this.#change({ answers: { ...this.kept.answers, [name]: value } });
  }

  go(step) {
    if (step !== this.kept.step) this.#change({ step });
  }

  /** Everything is on the server when this resolves; throws when it can't be. */
  async flush() {
    clearTimeout(this.timer);
    while (this.dirty) {
      await this.#sync();
      if (this.dirty && this.failed) throw new Error(this.failed);
    }
  }

  clear() {
    clearTimeout(this.timer);
    this.cleared = true;
    localStorage.removeItem(this.key);
  }

  #change(fields) {
    Object.assign(this.kept, fields, { version: this.kept.version + 1 });
    this.#write();
    this.#say("saving");
    this.#soon(SOON_MS);
  }

  #soon(ms) {
    clearTimeout(this.timer);
    if (!this.cleared) this.timer = setTimeout(() => this.#sync(), ms);
  }

  /** One at a time: whoever calls meanwhile waits for the one that runs. */
  #sync() {
    this.running ??= this.#send().finally(() => { this.running = null; });
    return this.running;
  }

  async #send() {
    if (!this.dirty || this.cleared) return;
    const { version, answers, step } = this.kept;
    this.failed = "";
    let response, body;
    try {
      response = await this.#put({ version, answers, step });
      body = await response.json();
    } catch {
      return this.#wait();
    }
    if (response.ok) {
      this.wait_ms = SOON_MS;
      this.kept.base = { version, answers };
      this.#write();
      if (this.dirty) this.#soon(SOON_MS); else this.#say("saved");
    } else if (response.status === 409) {
      await this.#behind(body.error);
    } else if (response.status === 401) {
      this.#say("signed-out");
      this.failed = body.error.message;
    } else {
      this.#wait(body.error?.message);
    }
  }

  /** Somebody else's answers are newer, or the hire was made. */
  async #behind(error) {
    let server;
    try {
      server = (await (await fetch(this.url)).json()).onboarding;
    } catch {
      return this.#wait();
    }
    if (error.code === "hired" || !server) {
      this.clear();
      this.failed = error.message;
      this.dispatchEvent(new Event("gone"));
      return;
    }
    const answers = merged(this.kept.base.answers, this.kept.answers, server.answers, true);
    this.kept = { version: server.version + 1, answers, step: this.kept.step,
      base: { version: server.version, answers: server.answers } };
    this.#write();
    this.dispatchEvent(new Event("change"));
    this.#soon(0);
  }

  #wait(why = "") {
    this.wait_ms = Math.min((this.wait_ms ?? SOON_MS) * 2, LONGEST_WAIT_MS);
    this.failed = why || "offline";
    this.#say("offline");
    this.#soon(this.wait_ms);
  }

  #put(body, keepalive = false) {
    return fetch(this.url, { method: "PUT", keepalive, body: JSON.stringify(body),
      headers: { "Content-Type": "application/json", "X-CSRF-Token": csrf() } });
  }

  /** The page goes away: what is not on the server yet is sent without waiting for an answer. */
  #last() {
    if (!this.dirty || this.cleared || this.running) return;
    const { version, answers, step } = this.kept;
    this.#put({ version, answers, step }, true).catch(() => {});
  }

  /** Another tab of this browser kept something, or the person signed out there. */
  #elsewhere(event) {
    if (event.key !== this.key || this.cleared) return;
    if (event.newValue === null) {
      this.clear();
      this.dispatchEvent(new Event("gone"));
      return;
    }
    const theirs = parse(event.newValue);
    if (!theirs || theirs.version <= this.kept.version && theirs.base.version <= this.kept.base.version) return;
    this.kept = { ...theirs, step: this.kept.step };
    this.dispatchEvent(new Event("change"));
    if (this.dirty) this.#soon(SOON_MS); else this.#say("saved");
  }

  #say(state) {
    if (state === this.state) return;
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }

  // Where a browser keeps nothing (full, or forbidden to), the account alone does.
  #read() {
    try { return parse(localStorage.getItem(this.key)); } catch { return null; }
  }

  #write() {
    if (this.cleared) return;
    try { localStorage.setItem(this.key, JSON.stringify(this.kept)); } catch { /* see above */ }
  }
}

function parse(text) {
  try {
    const found = JSON.parse(text);
    return typeof found?.version === "number" && found.answers && found.base?.answers ? found : null;
  } catch {
    return null;
  }
}

const fresh = ({ version, answers, step }) => ({ version, answers, step, base: { version, answers } });

/** The newer of two copies, with what was changed here and nowhere else. */
function chosen(local, server) {
  if (server.version <= local.base.version) return local;
  if (local.version === local.base.version) return fresh(server);
  const answers = merged(local.base.answers, local.answers, server.answers, false);
  const base = { version: server.version, answers: server.answers };
  const same = Object.keys(answers).every((name) => (answers[name] ?? "") === (server.answers[name] ?? ""));
  return { version: server.version + (same ? 0 : 1), answers, step: server.step, base };
}
