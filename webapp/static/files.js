// Files of an employee, and its memory: a tree, a preview, and all that one does to them.
import { bytes, busy, confirmed, csrf, element, send, timeElement, toast, toSignIn } from "./base.js";
import { t } from "./texts.js";

const TEXT = {
  none: t("Nothing here yet."), cut: t("Only the first entries of a folder are shown."), failed: (why) => t("This can’t be shown: {why}", { why }),
  again: t("Try again"), loading: t("Opening…"), download: t("Download"), zip: t("Download as .zip"), edit: t("Edit"), rename: t("Rename or move"), remove: t("Delete"),
  newFolder: t("New folder"), newFile: t("New text"), folderName: t("Name of the folder"), fileName: t("Name of the file"), path: t("New path"), make: t("Make it"),
  save: t("Save"), cancel: t("Cancel"), saved: (name) => t("{name} is saved.", { name }), gone: (name) => t("{name} is deleted.", { name }), moved: (name) => t("It is {name} now.", { name }),
  removeTitle: (name) => t("Delete {name}?", { name }), removeFile: t("It is deleted at once and can’t be brought back."),
  removeFolder: t("The folder and everything in it is deleted at once and can’t be brought back."), removeYes: t("Delete"),
  noPreview: t("This kind of file can’t be shown here. Download it to open it."), large: (size) => t("This file is too large to show here ({size}). Download it to open it.", { size }),
  openPdf: t("Open the document"), picture: (name) => t("Picture: {name}", { name }), folder: (name) => t("Folder {name}", { name }), into: (name) => t("Uploads and new files go into {name}.", { name }),
  conflict: t("Somebody changed this file while you edited it. Nothing of either is lost yet."), theirs: t("See theirs"), overwrite: t("Overwrite with mine"), take: t("Take theirs, drop mine"),
  theirsIs: t("Theirs, as it is now:"), dropTitle: t("Drop your changes?"), dropText: t("What you typed since the last save is lost."), dropYes: t("Drop them"), keep: t("Keep editing"),
  waiting: t("waiting"), percent: (n) => t("{n} %", { n }), uploaded: t("uploaded"), exists: t("is already there"), replace: t("Replace it"), skip: t("Leave it"), stop: t("Stop"),
  offline: t("The connection was lost."), other: t("a link or something else"), editing: (name) => t("Text of {name}", { name }),
};
const TEXTS = /\.(md|txt|csv|tsv|json|jsonl|ya?ml|toml|ini|html?|css|js|ts|py|sh|xml|svg|log|sql|conf)$|^[^.]+$/i;
const PICTURES = { png: "image/png", jpg: "image/jpeg", jpeg: "image/jpeg", gif: "image/gif", webp: "image/webp", svg: "image/svg+xml", avif: "image/avif" };
const MOST_TEXT = 1_000_000;
const MOST_PICTURE = 20_000_000;

export function openFiles(pane, context) {
  const area = pane.dataset.area;
  const api = `${context.api}/${area}`;
  const get = (selector) => pane.querySelector(selector);
  const tree = get(".tree");
  const preview = get(".preview");
  const may = context.canChange;
  let chosen = null; // {path, kind, node}
  let editing = null; // {dirty()}
  let shownUrl = "";

  const content = (path) => `${api}/content?path=${encodeURIComponent(path)}`;
  const parent = (path) => path.split("/").slice(0, -1).join("/");
  const base = (path) => path.split("/").at(-1);
  const join = (folder, name) => (folder ? `${folder}/${name}` : name);
  /** Where new things go: the chosen folder, or the one of the chosen file. */
  const here = () => (area === "memory" ? "memory" : !chosen ? "" : chosen.kind === "folder" ? chosen.path : parent(chosen.path));

  function say(...what) {
    const line = get(".files-say");
    line.replaceChildren(...what);
    line.hidden = what.length === 0;
  }

  // ---- the tree --------------------------------------------------------------------------------

  const list = async (path) => send("GET", `${api}?path=${encodeURIComponent(path)}`);

  async function readRoot() {
    say(TEXT.loading);
    try {
      const found = await list("");
      await fill(tree, found.entries, 1);
      if (!tree.querySelector("[tabindex='0']")) tree.querySelector("[role=treeitem]")?.setAttribute("tabindex", "0");
      if (found.cut_off) say(TEXT.cut);
      else if (!found.entries.length) say(TEXT.none);
      else say();
    } catch (error) {
      const again = element("button", { type: "button" }, TEXT.again);
      again.addEventListener("click", readRoot);
      say(TEXT.failed(error.message), " ", again);
    }
  }

  /** Writes a folder's entries; folders that are open stay open. */
  async function fill(group, entries, level) {
    const before = new Map([...group.children].map((node) => [node.dataset.path, node]));
    const nodes = [];
    for (const entry of entries) {
      const path = entry.path;
      const old = before.get(path);
      const node = old?.dataset.kind === entry.kind ? old : treeNode(entry, level);
      node.entry = entry;
      if (chosen?.path === path) chosen.node = node;
      nodes.push(node);
    }
    group.replaceChildren(...nodes);
    for (const node of nodes) {
      if (node.getAttribute("aria-expanded") === "true") await open(node, true);
    }
  }

  function treeNode(entry, level) {
    const name = area === "memory" ? entry.path : entry.name;
    const node = element("li", { className: `node ${entry.kind}` });
    node.setAttribute("role", "treeitem");
    node.setAttribute("aria-level", String(level));
    node.setAttribute("aria-selected", "false");
    node.tabIndex = -1;
    Object.assign(node.dataset, { path: entry.path, kind: entry.kind });
    const row = element("span", { className: "node-row" }, element("span", { className: "node-name clip" }, name));
    row.style.setProperty("--level", String(level));
    node.append(row);
    if (entry.kind === "folder") {
      node.setAttribute("aria-expanded", "false");
      const group = element("ul", { hidden: true });
      group.setAttribute("role", "group");
      node.append(group);
    }
    if (entry.reachable === false) node.setAttribute("aria-disabled", "true");
    return node;
  }

  async function open(node, quietly = false) {
    const group = node.querySelector(":scope > ul");
    try {
      const found = await list(node.dataset.path);
      await fill(group, found.entries, Number(node.getAttribute("aria-level")) + 1);
      if (!found.entries.length) {
        const none = element("li", { className: "node-none quiet small" }, TEXT.none);
        none.style.setProperty("--level", String(Number(node.getAttribute("aria-level")) + 1));
        none.setAttribute("role", "none");
        group.append(none);
      }
      node.setAttribute("aria-expanded", "true");
      group.hidden = false;
    } catch (error) {
      if (!quietly) toast(error.message, { kind: "bad" });
    }
  }

  function close(node) {
    node.setAttribute("aria-expanded", "false");
    node.querySelector(":scope > ul").hidden = true;
  }

  const visible = () => [...tree.querySelectorAll("[role=treeitem]")].filter((node) => !node.closest("[hidden]"));

  function focus(node) {
    for (const other of tree.querySelectorAll("[tabindex='0']")) other.tabIndex = -1;
    node.tabIndex = 0;
    node.focus();
  }

  tree.addEventListener("click", (event) => {
    const node = event.target.closest("[role=treeitem]");
    if (!node || node.getAttribute("aria-disabled")) return;
    focus(node);
    if (node.dataset.kind === "folder") {
      if (node.getAttribute("aria-expanded") === "true" && chosen?.node === node) close(node); else open(node);
    }
    choose(node);
  });

  tree.addEventListener("keydown", async (event) => {
    const node = event.target.closest("[role=treeitem]");
    if (!node) return;
    const nodes = visible();
    const at = nodes.indexOf(node);
    const expanded = node.getAttribute("aria-expanded");
    const act = {
      ArrowDown: () => nodes[at + 1] && focus(nodes[at + 1]), ArrowUp: () => nodes[at - 1] && focus(nodes[at - 1]),
      Home: () => focus(nodes[0]), End: () => focus(nodes.at(-1)),
      ArrowRight: () => (expanded === "false" ? open(node) : expanded === "true" && focus(nodes[at + 1] ?? node)),
      ArrowLeft: () => (expanded === "true" ? close(node) : focus(node.parentElement.closest("[role=treeitem]") ?? node)),
      Enter: () => node.querySelector(":scope > .node-row").click(), " ": () => node.querySelector(":scope > .node-row").click(),
      Delete: () => { if (may) choose(node).then((yes) => yes && preview.querySelector(".remove")?.click()); },
    }[event.key];
    if (!act) return;
    event.preventDefault();
    await act();
  });

  // ---- the preview -----------------------------------------------------------------------------

  async function mayLeave() {
    if (!editing?.dirty()) return true;
    return confirmed({ title: TEXT.dropTitle, text: TEXT.dropText, yes: TEXT.dropYes, no: TEXT.keep });
  }

  async function choose(node) {
    if (!await mayLeave()) return false;
    editing = null;
    for (const other of tree.querySelectorAll("[aria-selected=true]")) other.setAttribute("aria-selected", "false");
    node.setAttribute("aria-selected", "true");
    chosen = { path: node.dataset.path, kind: node.dataset.kind, node };
    show(node.entry);
    return true;
  }

  function clear() {
    if (shownUrl) URL.revokeObjectURL(shownUrl);
    shownUrl = "";
    pane.classList.toggle("has-file", chosen !== null);
  }

  /** Nothing is chosen any more: what was is gone from its path, and the buttons with it. */
  function leave() {
    chosen = null;
    editing = null;
    clear();
    preview.replaceChildren();
  }

  function head(entry) {
    const row = element("div", { className: "row preview-actions" });
    const add = (text, act, kind = "") => {
      const button = element("button", { type: "button", className: kind }, text);
      button.addEventListener("click", () => act(button));
      row.append(button);
      return button;
    };
    if (entry.kind === "file") add(TEXT.download, () => { location.assign(content(entry.path)); });
    if (entry.kind === "folder" && area === "files") add(TEXT.zip, () => { location.assign(`${api}/archive?path=${encodeURIComponent(entry.path)}`); });
    if (may && entry.kind !== "other") {
      if (entry.kind === "file" && isText(entry)) add(TEXT.edit, (button) => busy(button, () => edit(entry)), "edit");
      if (area === "files") add(TEXT.rename, () => rename(entry));
      add(TEXT.remove, () => remove(entry), "danger soft remove");
    }
    const about = element("p", { className: "small quiet" });
    if (entry.kind === "file") about.append(`${bytes(entry.size)} · `);
    about.append(timeElement(entry.modified, "datetime"));
    return element("div", { className: "preview-head stack tight" }, element("h3", { className: "clip", title: entry.path }, entry.path), about, row);
  }

  const extension = (entry) => entry.name.split(".").at(-1).toLowerCase();
  const isText = (entry) => TEXTS.test(entry.name) && entry.size <= MOST_TEXT;

  async function show(entry) {
    clear();
    const body = element("div", { className: "preview-body" }, element("p", { className: "quiet" }, TEXT.loading));
    preview.replaceChildren(head(entry), body);
    const put = (...what) => { if (chosen?.path === entry.path && !editing) body.replaceChildren(...what); };
    const note = (text) => put(element("p", { className: "quiet" }, text));
    if (entry.kind === "folder") { note(may ? TEXT.into(entry.name) : TEXT.folder(entry.name)); return; }
    if (entry.kind === "other") { note(TEXT.other); return; }
    const type = PICTURES[extension(entry)];
    try {
      if (type) {
        if (entry.size > MOST_PICTURE) { note(TEXT.large(bytes(entry.size))); return; }
        shownUrl = URL.createObjectURL(new Blob([await (await read(entry.path)).arrayBuffer()], { type }));
        put(element("img", { src: shownUrl, alt: TEXT.picture(entry.name) }));
      } else if (extension(entry) === "pdf") {
        const button = element("button", { type: "button", className: "primary" }, TEXT.openPdf);
        button.addEventListener("click", () => busy(button, async () => {
          // The type is ours: whatever the bytes are, they are shown as a document or not at all.
          const url = URL.createObjectURL(new Blob([await (await read(entry.path)).arrayBuffer()], { type: "application/pdf" }));
          window.open(url, "_blank", "noopener");
          setTimeout(() => URL.revokeObjectURL(url), 60_000);
        }));
        put(button);
      } else if (TEXTS.test(entry.name)) {
        if (entry.size > MOST_TEXT) { note(TEXT.large(bytes(entry.size))); return; }
        const text = element("pre", { tabIndex: 0 }, await (await read(entry.path)).text());
        text.setAttribute("aria-label", TEXT.editing(entry.name));
        text.setAttribute("role", "region");
        put(text);
      } else note(TEXT.noPreview);
    } catch (error) {
      note(TEXT.failed(error.message));
    }
  }

  async function read(path) {
    const answer = await fetch(content(path), { headers: { Accept: "*/*" } });
    if (answer.status === 401) toSignIn();
    if (!answer.ok) throw new Error((await answer.json().catch(() => null))?.error?.message ?? answer.statusText);
    return answer;
  }

  // ---- editing ---------------------------------------------------------------------------------

  /** Writes with an ETag, so that nobody's change is overwritten unseen. Throws {status}. */
  async function write(path, data, headers) {
    let answer;
    try {
      answer = await fetch(content(path), { method: "PUT", body: data, headers: { "X-CSRF-Token": csrf(), ...headers } });
    } catch { throw new Error(TEXT.offline); }
    const said = await answer.json().catch(() => null);
    if (answer.status === 401) toSignIn();
    if (!answer.ok) throw Object.assign(new Error(said?.error?.message ?? answer.statusText), { status: answer.status });
    return answer.headers.get("ETag");
  }

  async function edit(entry) {
    const answer = await read(entry.path);
    let etag = answer.headers.get("ETag");
    let saved = await answer.text();
    // Somebody may have gone on to another file while this one was read.
    if (chosen?.path !== entry.path) return;
    const box = element("textarea", { className: "editor", value: saved, spellcheck: true });
    box.setAttribute("aria-label", TEXT.editing(entry.name));
    const save = element("button", { type: "button", className: "primary" }, TEXT.save);
    const cancel = element("button", { type: "button" }, TEXT.cancel);
    const conflict = element("div", { className: "banner warn", hidden: true });
    conflict.setAttribute("role", "alert");
    const theirs = element("pre", { hidden: true, tabIndex: 0 });
    editing = { dirty: () => box.value !== saved };
    preview.replaceChildren(element("div", { className: "preview-head stack tight" }, element("h3", { className: "clip" }, entry.path),
      element("div", { className: "row preview-actions" }, save, cancel)), conflict, theirs, box);
    box.focus();
    box.setSelectionRange(0, 0);

    const done = async () => { editing = null; await readRoot(); const node = nodeOf(entry.path); if (node) choose(node); };
    const put = (tag) => busy(save, async () => {
      const text = box.value;
      try {
        etag = await write(entry.path, text, tag ? { "If-Match": tag } : {});
      } catch (error) {
        if (error.status !== 412) throw error;
        ask();
        return;
      }
      saved = text;
      toast(TEXT.saved(entry.name));
      await done();
    });
    function ask() {
      const offer = (text, act) => {
        const button = element("button", { type: "button" }, text);
        button.addEventListener("click", () => busy(button, act));
        return button;
      };
      const row = element("div", { className: "row" },
        offer(TEXT.theirs, async () => {
          const now = await read(entry.path);
          theirs.replaceChildren(element("strong", {}, TEXT.theirsIs), "\n", await now.text());
          theirs.hidden = false;
        }),
        offer(TEXT.overwrite, async () => put((await read(entry.path)).headers.get("ETag"))),
        offer(TEXT.take, async () => { saved = box.value; await done(); }));
      conflict.replaceChildren(element("div", { className: "stack tight" }, element("p", {}, TEXT.conflict), row));
      conflict.hidden = false;
      row.firstChild.focus();
    }
    save.addEventListener("click", () => put(etag));
    cancel.addEventListener("click", async () => { if (await mayLeave()) { saved = box.value; await done(); } });
    box.addEventListener("keydown", (event) => {
      if ((event.ctrlKey || event.metaKey) && event.key === "s") { event.preventDefault(); put(etag); }
    });
  }
  addEventListener("beforeunload", (event) => { if (editing?.dirty()) event.preventDefault(); });

  const nodeOf = (path) => tree.querySelector(`[data-path="${CSS.escape(path)}"]`);

  // ---- making, renaming, removing ----------------------------------------------------------------

  /** Asks for a line of text; null when it was left. */
  function askLine({ title, label, value = "", yes }) {
    return new Promise((resolve) => {
      const input = element("input", { value, autocomplete: "off", spellcheck: false, required: true });
      const heading = element("h2", { id: `ask-${Date.now()}` }, title);
      const stay = element("button", { type: "button" }, TEXT.cancel);
      const form = element("form", { method: "dialog", className: "dialog-body" }, heading, element("label", {}, label, input),
        element("div", { className: "dialog-foot" }, stay, element("button", { className: "primary" }, yes)));
      const box = element("dialog", {}, form);
      box.setAttribute("aria-labelledby", heading.id);
      let answer = null;
      form.addEventListener("submit", (event) => { event.preventDefault(); answer = input.value.trim().replace(/^\/+|\/+$/g, "") || null; box.close(); });
      stay.addEventListener("click", () => box.close());
      box.addEventListener("close", () => { box.remove(); resolve(answer); });
      document.body.append(box);
      box.showModal();
      input.focus();
      const dot = value.lastIndexOf(".");
      input.setSelectionRange(value.lastIndexOf("/") + 1, dot > 0 ? dot : value.length);
    });
  }

  async function reveal(path) {
    await readRoot();
    const folders = parent(path) ? parent(path).split("/") : [];
    for (let depth = 1; area === "files" && depth <= folders.length; depth += 1) {
      const node = nodeOf(folders.slice(0, depth).join("/"));
      if (node && node.getAttribute("aria-expanded") !== "true") await open(node, true);
    }
    const node = nodeOf(path);
    if (node) { focus(node); await choose(node); }
    return node;
  }

  async function rename(entry) {
    const to = await askLine({ title: TEXT.rename, label: TEXT.path, value: entry.path, yes: TEXT.rename });
    if (!to || to === entry.path) return;
    try {
      await send("POST", `${api}/move?path=${encodeURIComponent(entry.path)}&to=${encodeURIComponent(to)}`);
      toast(TEXT.moved(base(to)));
      leave();
      await reveal(to);
    } catch (error) { toast(error.message, { kind: "bad" }); }
  }

  async function remove(entry) {
    const text = entry.kind === "folder" ? TEXT.removeFolder : TEXT.removeFile;
    if (!await confirmed({ title: TEXT.removeTitle(entry.name), text, yes: TEXT.removeYes })) return;
    try {
      await send("DELETE", content(entry.path), undefined, { headers: entry.etag ? { "If-Match": entry.etag } : {} });
      toast(TEXT.gone(entry.name));
      leave();
      await readRoot();
      const next = visible()[0];
      if (next) focus(next); else get(".refresh").focus();
    } catch (error) { toast(error.message, { kind: "bad" }); readRoot(); }
  }

  get(".refresh").addEventListener("click", (event) => busy(event.currentTarget, readRoot));
  get(".new-folder")?.addEventListener("click", async () => {
    const name = await askLine({ title: TEXT.newFolder, label: TEXT.folderName, yes: TEXT.make });
    if (!name) return;
    const path = join(here(), name);
    try {
      await send("POST", `${api}/folder?path=${encodeURIComponent(path)}`);
      await reveal(path);
    } catch (error) { toast(error.message, { kind: "bad" }); }
  });
  get(".new-file")?.addEventListener("click", async () => {
    const name = await askLine({ title: TEXT.newFile, label: TEXT.fileName, value: "notes.md", yes: TEXT.make });
    if (!name) return;
    const path = join(here(), name);
    try {
      await write(path, "", { "If-None-Match": "*" });
      const node = await reveal(path);
      if (node) await edit(node.entry);
    } catch (error) { toast(error.message, { kind: "bad" }); }
  });

  // ---- uploads: one after the other, each with its progress ---------------------------------------

  let queue = Promise.resolve();

  function upload(files) {
    const folder = here();
    for (const file of files) {
      const item = uploadItem(file);
      get(".uploads").append(item.node);
      queue = queue.then(() => carry(file, join(folder, file.name), item)).then(() => readRoot());
    }
  }

  function uploadItem(file) {
    const bar = element("progress", { max: 1, value: 0 });
    bar.setAttribute("aria-label", file.name);
    const state = element("span", { className: "small quiet" }, TEXT.waiting);
    const stop = element("button", { type: "button", className: "quiet" }, TEXT.stop);
    const actions = element("span", { className: "row" }, stop);
    const node = element("li", {}, element("div", { className: "row between" }, element("span", { className: "clip grow small" }, file.name), state, actions), bar);
    return { node, bar, state, stop, actions, stopped: false };
  }

  function put(file, path, item, headers) {
    return new Promise((resolve) => {
      const request = new XMLHttpRequest();
      request.open("PUT", content(path));
      for (const [name, value] of Object.entries({ "X-CSRF-Token": csrf(), ...headers })) request.setRequestHeader(name, value);
      request.upload.addEventListener("progress", (event) => {
        if (!event.lengthComputable) return;
        item.bar.value = event.loaded / event.total;
        item.state.textContent = TEXT.percent(Math.floor((event.loaded / event.total) * 100));
      });
      request.addEventListener("loadend", () => {
        let message = TEXT.offline;
        try { message = JSON.parse(request.responseText).error?.message ?? ""; } catch { /* no answer */ }
        resolve({ status: request.status, message });
      });
      item.stop.onclick = () => { item.stopped = true; request.abort(); };
      request.send(file);
    });
  }

  async function carry(file, path, item, headers = { "If-None-Match": "*" }) {
    if (item.stopped) { item.node.remove(); return; }
    const { status, message } = await put(file, path, item, headers);
    if (item.stopped) { item.node.remove(); return; }
    if (status >= 200 && status < 300) {
      item.bar.value = 1;
      item.state.textContent = TEXT.uploaded;
      item.actions.remove();
      setTimeout(() => item.node.remove(), 4000);
      return;
    }
    if (status === 401) toSignIn();
    item.state.textContent = status === 412 ? TEXT.exists : message || TEXT.offline;
    item.state.className = "small error";
    const leave = element("button", { type: "button", className: "quiet" }, TEXT.skip);
    leave.addEventListener("click", () => item.node.remove());
    const again = element("button", { type: "button" }, status === 412 ? TEXT.replace : TEXT.again);
    again.addEventListener("click", () => {
      item.actions.replaceChildren(item.stop);
      item.state.className = "small quiet";
      queue = queue.then(() => carry(file, path, item, status === 412 ? {} : headers)).then(() => readRoot());
    });
    item.actions.replaceChildren(again, leave);
  }

  if (may) {
    get(".upload input").addEventListener("change", (event) => { upload([...event.target.files]); event.target.value = ""; });
    const carries = (event) => event.dataTransfer?.types.includes("Files");
    pane.addEventListener("dragover", (event) => { if (carries(event)) { event.preventDefault(); pane.classList.add("over"); } });
    pane.addEventListener("dragleave", (event) => { if (!pane.contains(event.relatedTarget)) pane.classList.remove("over"); });
    pane.addEventListener("drop", (event) => {
      if (!carries(event)) return;
      event.preventDefault();
      pane.classList.remove("over");
      upload([...event.dataTransfer.files]);
    });
  }
  readRoot();
}
