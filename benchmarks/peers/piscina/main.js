// SPDX-License-Identifier: BSL-1.0
// Node's side of the benchmark: piscina with one worker. Reads lines "IN_FLIGHT TASKS" and answers with the seconds that
// the tasks took: IN_FLIGHT async functions, each awaiting one task after the other. usage: main.js <piscina> <increment.js>
"use strict";
const readline = require("node:readline");
const { Piscina } = require(process.argv[2]);

const pool = new Piscina({ filename: process.argv[3], minThreads: 1, maxThreads: 1 });

async function client(count) {
  for (let value = 0; value < count; ++value)
    if ((await pool.run(value)) !== value + 1) throw new Error("a task returned a wrong result");
}

async function run(inFlight, tasks) {
  const start = process.hrtime.bigint();
  await Promise.all(Array.from({ length: inFlight }, () => client(Math.floor(tasks / inFlight))));
  return Number(process.hrtime.bigint() - start) / 1e9;
}

async function main() {
  console.log("ready");
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [inFlight, tasks] = line.split(" ").map(Number);
    console.log(await run(inFlight, tasks));
  }
  await pool.destroy();
}

main();
