// Gives memory back when the gateway has been quiet: one full collection, after which V8 returns
// its free pages. Loaded into every isolate by --require.
'use strict';
const v8 = require('node:v8');
const vm = require('node:vm');
const { performance } = require('node:perf_hooks');

const EVERY_MS = 10_000;
const QUIET = 0.05; // share of the interval that the event loop was busy
v8.setFlagsFromString('--expose-gc');
const collect = vm.runInNewContext('gc');

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
