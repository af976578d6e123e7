// Unexpected errors: each is counted, each place in the code is logged once, and no log line can be
// forged or grow without bound.
import assert from "node:assert/strict";
import { test } from "node:test";
import { InternalErrors } from "../../src/node/internal_errors.ts";

function collector() {
  const log: string[] = [];
  let told = 0;
  const onError = () => {
    told++;
  };
  const errors = new InternalErrors({ log: (text) => log.push(text), onError });
  return { errors, log, told: () => told };
}

test("an error is counted each time and logged once, with its stack and its causes", () => {
  const { errors, log, told } = collector();
  const fail = () => {
    throw new Error("outer", { cause: new RangeError("inner") });
  };
  for (let i = 0; i < 5; i++) errors.run("a connection", fail);
  assert.equal(errors.count, 5);
  assert.equal(told(), 5);
  assert.equal(log.length, 1);
  assert.match(
    log[0]!,
    /ended a connection: Error: outer\n +at .*\n[\s\S]*caused by RangeError: inner/,
  );
});

test("errors of another unit, place or kind are logged too", () => {
  const { errors, log } = collector();
  const one = new Error("x");
  errors.report("a connection", one);
  errors.report("a request", one);
  errors.report("a request", new Error("x"));
  errors.report("a request", "thrown text");
  errors.report("a request", undefined);
  assert.equal(log.length, 5);
  assert.match(log[3]!, /thrown text/);
});

test("errors at one place are logged once, whatever their messages", () => {
  const { errors, log } = collector();
  for (let i = 0; i < 50; i++) errors.report("a task", new Error(`client ${i} said ${i}`));
  assert.equal(log.length, 1);
});

test("the log is bounded and free of control characters", () => {
  const { errors, log } = collector();
  for (let i = 0; i < 1000; i++) errors.report(`unit ${i}`, new Error("\x1b[2Jx\r\x00"));
  assert.equal(errors.count, 1000);
  assert.equal(log.length, 100);
  assert.match(log[99]!, /further ones are only counted/);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: none of them may be there
  for (const text of log) assert.doesNotMatch(text, /[\x00-\x08\x0b-\x1f]/);
  errors.report("long", new Error("y".repeat(100_000)));
  assert.ok(log.every((text) => text.length < 10_000));
});

test("a rejected promise is an error of its unit", async () => {
  const { errors } = collector();
  errors.watch("a task", Promise.reject(new Error("late")));
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(errors.count, 1);
});
