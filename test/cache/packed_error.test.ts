// Errors of loaders on the way to other threads: everything that can be kept is kept, within
// limits, for any thrown value.
import assert from "node:assert/strict";
import { test } from "node:test";
import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { ZcacheError } from "../../src/base/errors.ts";
import { packError, unpackError } from "../../src/cache/packed_error.ts";

/** Limit of the packed bytes of any thrown value. */
const BYTES_MAX = 2 * 1024 * 1024;

function sent<T>(thrown: T): T {
  const bytes = packError(thrown);
  assert.ok(bytes.length < BYTES_MAX, `${bytes.length} bytes`);
  return unpackError(bytes) as T;
}

class HttpError extends RangeError {
  override readonly name = "HttpError";
  readonly code = "E_HTTP";
  readonly status = 503;
  readonly socket = { write: () => undefined };
}

test("error classes of the language and ZcacheError keep their class", () => {
  const cause = new TypeError("deeper");
  const errors = [
    new Error("plain"),
    new TypeError("type", { cause }),
    new RangeError("range"),
    new SyntaxError("syntax"),
    new ReferenceError("reference"),
    new EvalError("eval"),
    new URIError(""),
    new ZcacheError("ERR_IO", "no disk", { context: { bytes: 5 }, cause }),
    new DOMException("stop", "AbortError"),
    Object.assign(new Error("no file"), { code: "ENOENT", errno: -2, syscall: "open" }),
  ];
  for (const error of errors) {
    const got = sent(error);
    assert.equal(Object.getPrototypeOf(got), Object.getPrototypeOf(error));
    for (const name of ["name", "message", "code", "stack", "context", "errno", "syscall"]) {
      const [one, other] = [got, error].map((any) => (any as never)[name]);
      assert.deepEqual(one, other, `${error.name}: ${name}`);
    }
    if (error.cause === undefined) assert.ok(!("cause" in got));
    else assert.ok(got.cause instanceof TypeError && got.cause.message === "deeper");
  }
  const foreign: unknown = runInNewContext('new RangeError("elsewhere")');
  assert.ok(!(foreign instanceof Error));
  assert.ok((sent(foreign) as unknown) instanceof RangeError);
});

test("an error of another class becomes an Error with its name and its fields", () => {
  const got = sent(new HttpError("busy", { cause: "a text" }));
  assert.equal(Object.getPrototypeOf(got), Error.prototype);
  const { name, message, code, status, cause } = got;
  assert.deepEqual([name, message, code, status], ["HttpError", "busy", "E_HTTP", 503]);
  assert.equal(cause, "a text");
  assert.ok(!("socket" in got));
  class Inherited extends Error {
    get code() {
      return "E_GETTER";
    }
  }
  assert.equal(sent(new Inherited("x")).code, "E_GETTER");
});

test("aggregate errors, and cyclic causes", () => {
  const shared = new TypeError("shared");
  const all = new AggregateError([shared, "text", shared], "all failed", { cause: shared });
  const got = sent(all);
  assert.ok(got instanceof AggregateError && got.message === "all failed");
  assert.ok(got.errors[0] instanceof TypeError && got.errors[1] === "text");
  assert.equal(got.errors[2], got.errors[0]);
  assert.equal(got.cause, got.errors[0]);
  const one = new Error("one");
  const two = new Error("two", { cause: one });
  one.cause = two;
  const circle = sent(one);
  assert.equal(((circle.cause as Error).cause as Error).message, "one");
  assert.equal((circle.cause as Error).cause, circle);
});

test("a thrown value that is not an error is cloned if possible", () => {
  for (const thrown of [
    undefined,
    null,
    "",
    "text",
    0,
    -0,
    Number.NaN,
    5n,
    true,
    Symbol.for("s"),
  ]) {
    assert.ok(Object.is(sent(thrown), thrown), String(thrown));
  }
  assert.deepEqual(sent({ code: 5, list: [1, new Map([[1, 2]])] }), {
    code: 5,
    list: [1, new Map([[1, 2]])],
  });
  assert.equal(sent(Symbol("own")).description, "own");
  for (const thrown of [() => 1, { code: "E", method: () => 1 }, new Proxy({}, {})]) {
    const got: unknown = sent(thrown);
    assert.ok(got instanceof Error && /can't be sent to another thread/.test(got.message));
  }
  assert.equal((sent({ code: "E", method: () => 1 }) as { code: unknown }).code, "E");
});

/** An object whose properties can't be read. */
const hostile = new Proxy(new Error("hostile"), {
  get: () => assert.fail("get"),
  has: () => assert.fail("has"),
  ownKeys: () => assert.fail("ownKeys"),
  getPrototypeOf: () => assert.fail("getPrototypeOf"),
});

test("unreadable errors are replaced, and huge ones are cut", () => {
  assert.ok((sent(hostile) as unknown) instanceof Error);
  const getters = new Error("getters");
  for (const name of ["stack", "message", "name", "code", "cause", "other"]) {
    Object.defineProperty(getters, name, {
      enumerable: true,
      get: () => {
        throw new Error(name);
      },
    });
  }
  assert.ok((sent(getters) as unknown) instanceof Error);
  const huge = sent(Object.assign(new Error("x".repeat(1e7)), { body: "y".repeat(1e7), small: 1 }));
  assert.match(huge.message, /^x{1000,}…$/);
  assert.deepEqual([Object.keys(huge), huge.small], [["small"], 1]);
  const many = Array.from({ length: 100_000 }, (_, nth) => new Error(`${nth}`.repeat(100)));
  const [first] = sent(new AggregateError(many)).errors as Error[];
  assert.equal(first?.message, "0".repeat(100));
  let deep = new Error("end");
  for (let nth = 0; nth < 10_000; nth++) deep = new Error(`${nth}`, { cause: deep });
  assert.equal(sent(deep).message, "9999");
  const prototype = new Error("x");
  Object.defineProperty(prototype, "__proto__", { value: { polluted: 1 }, enumerable: true });
  assert.equal(Object.getPrototypeOf(sent(prototype)), Error.prototype);
});

test("any value can be thrown", () => {
  fc.assert(
    fc.property(
      fc.anything({ withBigInt: true, withDate: true, withMap: true, withTypedArray: true }),
      fc.string(),
      fc.dictionary(fc.string(), fc.anything()),
      (thrown, message, fields) => {
        sent(thrown);
        const error = Object.assign(new TypeError(message, { cause: thrown }), {});
        for (const [name, value] of Object.entries(fields)) {
          Object.defineProperty(error, name, { value, enumerable: true, configurable: true });
        }
        const got: unknown = sent(error);
        assert.ok(got instanceof TypeError);
      },
    ),
    { numRuns: 300 },
  );
});
