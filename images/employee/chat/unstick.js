// The chat page keeps what is written while a reply is on its way, and sometimes goes on keeping it
// when the reply has ended: no run is active, the message says nothing, and nobody answers until the
// page is loaded anew (openclaw/openclaw issues 42213, 115470, 131933, 152694; the version we pin has
// it still). What waits lies in the browser's storage and is sent by a fresh page, so this loads one.
"use strict";
(() => {
  const LOOK_MS = 2_000;
  const IDLE_MS = 15_000;   // the page says that nothing runs
  const BUSY_MS = 120_000;  // the page says that a reply is on its way: a long turn may be one
  const TRIES = 3;          // for each message, each after twice the time
  const KEY = "iw.unstuck";

  // What the page says of each message; "held", "failed", "unconfirmed" ask the reader for a decision.
  const waits = (item) => !item.sendError
    && ["waiting-idle", "waiting-reconnect", undefined].includes(item.sendState);
  const tries = JSON.parse(sessionStorage.getItem(KEY) ?? "{}");  // by message
  const since = new Map();  // by message, on this page: what a fresh one restores gets its time again

  setInterval(() => {
    const pane = document.querySelector("openclaw-chat-pane");
    const state = pane?.state;
    if (!state?.connected || state.realtimeTalkSession) return;
    const patience = state.chatRunId || state.chatSending ? BUSY_MS : IDLE_MS;
    const now = Date.now();
    const kept = (state.chatQueue ?? []).filter(waits).find(({ id }) => {
      if (!since.has(id)) since.set(id, now);
      const times = tries[id] ?? 0;
      return times < TRIES && now - since.get(id) > patience * 2 ** times;
    });
    if (!kept || pane.querySelector("textarea")?.value) return;  // somebody writes: not now
    tries[kept.id] = (tries[kept.id] ?? 0) + 1;
    sessionStorage.setItem(KEY, JSON.stringify(tries));
    console.warn("a message was kept by the page: loading it anew");
    location.reload();
  }, LOOK_MS);
})();
