// The viewer: shows the employee's screen, and hands over keyboard and mouse on request. Whether
// that is allowed is decided by the edge and enforced by the desk; this page only asks.
import RFB from '/novnc/core/rfb.js';

const screen = document.getElementById('screen');
const state = document.getElementById('state');
const control = document.getElementById('control');
// The dashboard that frames this page shows what it says; no other page hears it.
const DASHBOARD = location.origin.replace(/^(https?:\/\/)[^.]+\.vnc\./, '$1app.');
let acting = false;
let failures = 0;
let rfb = null;
let timer = 0;
const PATIENCE_MS = 20_000; // for a connection that neither stands nor fails

function connect() {
  clearTimeout(timer);
  const url = new URL('/websockify' + (acting ? '?control' : ''), location.href);
  url.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
  const mine = new RFB(screen, url.href, { shared: true });
  rfb = mine;
  mine.scaleViewport = true;
  mine.viewOnly = !acting;
  mine.background = '#16181d';
  timer = setTimeout(() => mine.disconnect(), PATIENCE_MS);
  mine.addEventListener('connect', () => {
    clearTimeout(timer);
    failures = 0;
    control.hidden = false;
    say(acting ? 'You have keyboard and mouse' : 'Watching live');
    if (acting) mine.focus();
  });
  mine.addEventListener('disconnect', () => {
    if (rfb !== mine) return;
    clearTimeout(timer);
    const wait = Math.min(0.5 * 2 ** failures++, 8);
    say(`The connection was lost. Trying again in ${Math.ceil(wait)} s.`);
    timer = setTimeout(open, wait * 1000);
  });
}

function say(text) {
  state.textContent = text;
  document.title = text;
  screen.classList.toggle('acting', acting);
  control.textContent = acting ? 'Hand back' : 'Take over';
  control.setAttribute('aria-pressed', String(acting));
  if (parent !== window) parent.postMessage({ desk: { text, acting } }, DASHBOARD);
}

control.addEventListener('click', () => {
  acting = !acting;
  const old = rfb;
  rfb = null;
  old.disconnect();
  say(acting ? 'Taking over…' : 'Handing back…');
  connect();
});

function open() {
  say('Connecting…');
  connect();
}

open();
