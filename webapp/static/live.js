// What the server tells while a page is open: one stream of server-sent events for a company.
import { t } from "./texts.js";

const AGAIN_MS = 5000;

/** The server says what somebody does in English; here it is read in the page's language. */
export function read(employee) {
  const { summary } = employee;
  return { ...employee, summary: { ...summary, label: t(summary.label), detail: t(summary.detail) } };
}

/** Calls `on.team(list)`, `on.employee(one)`, `on.gone(id)`, `on.seats(seats)` as they come, and
 *  `on.connected(yes)` when the stream is lost and when it is back. Returns what ends it. */
export function watch(customer, on) {
  let stream = null;
  let timer = 0;
  let ended = false;
  const listen = (name, act) => stream.addEventListener(name, (event) => {
    on.connected?.(true);
    act?.(JSON.parse(event.data));
  });
  function connect() {
    if (ended) return;
    stream = new EventSource(`/api/v1/customers/${encodeURIComponent(customer)}/events/stream`);
    listen("team", (team) => on.team?.(team.map(read)));
    listen("employee", (employee) => on.employee?.(read(employee)));
    listen("gone", (gone) => on.gone?.(gone.id));
    listen("seats", on.seats);
    stream.addEventListener("error", () => {
      on.connected?.(false);
      // The browser tries again by itself, unless the server said no.
      if (stream.readyState === EventSource.CLOSED) timer = setTimeout(connect, AGAIN_MS);
    });
  }
  connect();
  return () => { ended = true; clearTimeout(timer); stream.close(); };
}

/** Seconds since an ISO time, never negative. */
export const since = (iso) => Math.max(0, Math.round((Date.now() - new Date(iso)) / 1000));

/** "12 s", "3 min": how long something takes so far. */
export function lasting(seconds) {
  const [value, unit] = seconds < 100 ? [seconds, "second"] : [Math.round(seconds / 60), "minute"];
  return new Intl.NumberFormat(undefined, { style: "unit", unit, unitDisplay: "narrow" }).format(value);
}
