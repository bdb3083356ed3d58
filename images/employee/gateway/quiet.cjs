// Gives memory back when the gateway has been quiet: one full collection, after which V8 returns
// its free pages. Loaded into every isolate by --require.
'use strict';
const { performance } = require('node:perf_hooks');

const EVERY_MS = 10_000;
const QUIET = 0.05; // share of the interval that the event loop was busy
// From --expose-gc on the command line: a flag set later would void the compile cache.
const collect = globalThis.gc;

let last = performance.eventLoopUtilization();
let collected = false;
setInterval(() => {
  const now = performance.eventLoopUtilization();
  const busy = performance.eventLoopUtilization(now, last).utilization > QUIET;
  last = now;
  if (busy) {
    collected = false;
  } else if (!collected) {
    collected = true;
    collect({ type: 'major', execution: 'sync', flavor: 'last-resort' });
  }
}, EVERY_MS).unref();
