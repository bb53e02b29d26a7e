// What the programs of this folder share: node PROGRAM DIRECTORY, and one JSON object a line, in both directions.
// The first line in says what to do. A line out with `done` is the last one; any other is a question with one line as its answer.
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { createInterface } from "node:readline";

const directory = process.argv[2];
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function heard() {
  const { value, done } = await lines.next();
  if (done) throw new Error("nobody answers");
  return JSON.parse(value);
}

export function say(said) {
  process.stdout.write(`${JSON.stringify(said)}\n`);
}

export async function ask(question) {
  say(question);
  return heard();
}

export async function library(...path) {
  return import(pathToFileURL(join(directory, "node_modules", ...path)).href);
}

// Do what is told, and tell what was found.
export async function run(work) {
  const told = await heard();
  say({ done: await work[told.task](told) });
  process.exit(0);
}
