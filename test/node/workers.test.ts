// Reserved descriptors: a worker that is started later gets none of them.
import assert from "node:assert/strict";
import { closeSync, fstatSync, openSync, readdirSync, readlinkSync, statSync } from "node:fs";
import { test } from "node:test";
import { holdReserved, reserveFd, startWorker, whenNoneStarts } from "../../src/node/workers.ts";

const IDLE = new URL("data:text/javascript,setInterval(()=>{},1000);");

/** Numbers that event loops wait on or are woken by. */
function loops(): Set<number> {
  const found = new Set<number>();
  for (const name of readdirSync("/proc/self/fd")) {
    try {
      if (/event/.test(readlinkSync(`/proc/self/fd/${name}`))) found.add(Number(name));
    } catch {
      // The one by which the folder was read.
    }
  }
  return found;
}

test("a worker gets no reserved descriptor", { skip: skip() }, async () => {
  const once = startWorker(IDLE);
  await new Promise((online) => once.once("online", online));
  await once.terminate();
  const opened = Array.from({ length: 40 }, () => openSync("/dev/null", "r"));
  for (const descriptor of opened) reserveFd(descriptor);
  for (const descriptor of opened) closeSync(descriptor);
  const before = loops();
  const count = readdirSync("/proc/self/fd").length;
  const worker = startWorker(IDLE);
  await new Promise((online) => worker.once("online", online));
  const own = [...loops()].filter((one) => !before.has(one));
  assert.ok(own.length > 0, "the worker has a loop");
  assert.deepEqual(
    own.filter((one) => opened.includes(one)),
    [],
  );
  assert.ok(readdirSync("/proc/self/fd").length < count + 15, "what was held is free again");
  await worker.terminate();
});

test("what another worker's end has closed is not closed again", { skip: skip() }, () => {
  const free = openSync("/dev/null", "r");
  closeSync(free);
  reserveFd(free);
  const releases = [holdReserved(), holdReserved()];
  // An ending worker closes the number that is held, and the next file gets it.
  closeSync(free);
  const file = openSync(process.execPath, "r");
  assert.equal(file, free, "the lowest free number is given out");
  for (const release of releases) release();
  assert.equal(fstatSync(file).ino, statSync(process.execPath).ino, "the file is still open");
  closeSync(file);
});

test("a reserved number that becomes free stays open until no worker is starting", () => {
  const closed: string[] = [];
  const close = (name: string) => whenNoneStarts(() => closed.push(name));
  close("before");
  assert.deepEqual(closed, ["before"]);
  const releases = [holdReserved(), holdReserved()];
  close("during");
  for (const release of releases) {
    assert.deepEqual(closed, ["before"]);
    release();
    release();
  }
  assert.deepEqual(closed, ["before", "during"]);
});

function skip(): string | false {
  return process.platform === "linux" ? false : "Linux tells what descriptors are";
}
