// The reference server of StatsD, as it is published. Says at which port it listens, and then what it has understood, as lines of JSON:
//   {"port": 8125}
//   {"counters": {"a.b": 3}, "gauges": {"c": 1}, "timers": {"d": [1.5]}, "sets": {"e": ["x"]}}     of the last fifth of a second
// Arguments: a folder for its configuration. It ends with its standard input.

import dgram from "node:dgram";
import fs from "node:fs";
import net from "node:net";
import path from "node:path";
import util from "node:util";
import { createRequire } from "node:module";

const BACKEND = `
exports.init = (startup, config, events) => {
  events.on("flush", (time, metrics) => {
    const { counters, gauges, timers, sets } = metrics;
    const members = Object.fromEntries(Object.entries(sets).map(([name, set]) => [name, set.values()]));
    process.stdout.write(JSON.stringify({ counters, gauges, timers, sets: members }) + "\\n");
  });
  return true;
};
`;

/** A port that nobody has now: the server cannot be asked for the one that it was given. */
function free(socket, listen) {
  return new Promise((resolve, reject) => {
    socket.once("error", reject);
    listen(() => {
      const { port } = socket.address();
      socket.close(() => resolve(port));
    });
  });
}

const udp = dgram.createSocket("udp4");
const port = await free(udp, (done) => udp.bind(0, "127.0.0.1", done));
const tcp = net.createServer();
const management = await free(tcp, (done) => tcp.listen(0, "127.0.0.1", done));

const folder = process.argv[2];
const backend = path.join(folder, "said.js");
fs.writeFileSync(backend, BACKEND);
const config = path.join(folder, "config.js");
const address = "127.0.0.1";
const settings = {
  address, port, mgmt_address: address, mgmt_port: management,
  flushInterval: 200, deleteCounters: true, deleteTimers: true, backends: [backend],
};
fs.writeFileSync(config, JSON.stringify(settings));

// What it tells people goes elsewhere.
console.log = console.error;
process.argv[2] = config;
// What it uses of Node that newer ones do not have.
util.log ??= console.error;
createRequire(import.meta.url)("statsd/stats.js");

// It may take a moment until it listens: whoever sends sends again.
process.stdout.write(`${JSON.stringify({ port })}\n`);
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
