// Clients of MongoDB by its driver for Node, which knows nothing of Fyke.
//
//     node mongo_clients.mjs SETTINGS
//
// Settings, and what it says, are those of ../python/mongo_clients.py.

import { createInterface } from 'node:readline';

import { MongoClient } from 'mongodb';

import { Acts, Foreign, NAMES } from './mongo_acts.mjs';

const settings = JSON.parse(process.argv[2]);
const clients = settings.clients ?? 8;
const operations = settings.operations ?? Infinity;
const outcome = { event: 'done', acts: {}, failed: {}, errors: [], foreign: [], slowest: 0 };
const counts = new Map();
const told = new Map();
let total = 0;
let stopped = false;

const say = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);
const add = (map, key) => map.set(JSON.stringify(key), (map.get(JSON.stringify(key)) ?? 0) + 1);
const rows = (map) => [...map].map(([key, count]) => [...JSON.parse(key), count]).sort();

// Database and collection.
function placeOf(name, database, command) {
  if (name === 'getMore') return [database, command.collection];
  if (name === 'bulkWrite') return command.nsInfo[0].ns.split('.');
  return [database, typeof command[name] === 'string' ? command[name] : ''];
}

function callsiteOf({ comment }) {
  let value = comment;
  if (typeof value === 'string') {
    try {
      value = JSON.parse(value);
    } catch {
      return '';
    }
  }
  return value?.callingFunction ?? '';
}

function listen(mongo, client) {
  mongo.on('commandStarted', ({ commandName, databaseName, command }) => {
    add(counts, [commandName, ...placeOf(commandName, databaseName, command), callsiteOf(command)]);
    total += 1;
    if (total % 100 === 0) say({ event: 'sent', total });
  });
  mongo.on('commandFailed', ({ commandName, failure }) => {
    const name = failure.codeName ?? failure.code ?? failure.name;
    add(told, [commandName, String(name), [...(failure.errorLabels ?? [])].sort()]);
    if (failure.code === undefined) say({ event: 'lost', client });
  });
}

// Call sites in both forms, what names none, and none at all.
function comment(name) {
  const named = { callingFunction: name };
  return [JSON.stringify(named), named, `done by ${name}`, undefined][Math.floor(Math.random() * 4)];
}

function failed(name, error) {
  if (error instanceof Foreign) outcome.foreign.push(`${name}: ${error.message}`);
  outcome.failed[name] ??= {};
  outcome.failed[name][error.name] = (outcome.failed[name][error.name] ?? 0) + 1;
  outcome.errors.push(`${name}: ${error.stack}`.slice(0, 500));
}

async function act(acts) {
  const name = NAMES[Math.floor(Math.random() * NAMES.length)];
  const began = performance.now();
  try {
    await acts.perform(name, comment(name));
  } catch (error) {
    failed(name, error);
    stopped ||= !settings.rough;
  }
  outcome.acts[name] = (outcome.acts[name] ?? 0) + 1;
  outcome.slowest = Math.max(outcome.slowest, (performance.now() - began) / 1000);
}

async function run(acts) {
  while (!stopped && total < operations) await act(acts);
}

createInterface({ input: process.stdin }).on('line', (line) => {
  stopped ||= JSON.parse(line) === 'stop';
});
const all = [];
for (let number = 0; number < clients; number += 1) {
  const mongo = new MongoClient(settings.uri, { monitorCommands: true });
  listen(mongo, number);
  all.push(new Acts(mongo, number));
}
try {
  await Promise.all(all.map((acts) => acts.prepare()));
  say({ event: 'ready' });
  await Promise.all(all.map(run));
} catch (error) {
  failed('client', error);
}
await Promise.all(all.map((acts) => acts.mongo.close()));
const last = { ...outcome, errors: outcome.errors.slice(0, 20), counts: rows(counts), told: rows(told) };
process.stdout.write(`${JSON.stringify(last)}\n`, () => process.exit(0));
