// A structured value is returned equal, or `set` refuses it with the path to the part that can't be
// encoded.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { Readable } from "node:stream";
import { test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import v8 from "node:v8";
import vm from "node:vm";
import fc from "fast-check";
import { valueSerializer } from "../../src/cache/serializer/serializer.ts";
import { Arena, Cache, ZcacheError } from "../../src/index.ts";

const serializer = valueSerializer("refuse");
const plain = valueSerializer("plain");

/** A view of a buffer of its own, as a cache returns it. */
function trip<T>(value: T, through = serializer): T {
  return through.decode(Uint8Array.from(through.encode(value))) as T;
}

/** Own properties that are not enumerable, which deepEqual ignores. */
function hiddenOf(error: Error): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  for (const key of Object.getOwnPropertyNames(error)) {
    fields[key] = (error as unknown as Record<string, unknown>)[key];
  }
  return { ...fields, name: error.name, prototype: Object.getPrototypeOf(error) };
}

/** Asserts deep equality, with prototypes and hidden fields of errors, and no shared object. */
function assertSame(got: unknown, wanted: unknown, seen = new Set<unknown>()): void {
  if (typeof wanted !== "object" || wanted === null) {
    assert.ok(Object.is(got, wanted), `${String(got)} is ${String(wanted)}`);
    return;
  }
  if (seen.has(wanted)) return;
  seen.add(wanted);
  assert.notEqual(got, wanted, "it is made anew");
  assert.equal(Object.getPrototypeOf(got), Object.getPrototypeOf(wanted));
  assert.deepEqual(Reflect.ownKeys(got as object).sort(), Reflect.ownKeys(wanted).sort());
  if (wanted instanceof Error) {
    assert.deepEqual(Object.keys(hiddenOf(got as Error)), Object.keys(hiddenOf(wanted)));
    for (const key of Object.getOwnPropertyNames(wanted) as (keyof Error)[]) {
      assertSame((got as Error)[key], wanted[key], seen);
    }
    return;
  }
  if (ArrayBuffer.isView(got)) {
    assert.equal(got.buffer.byteLength, got.byteLength, "a view has a buffer of its own");
  }
  // For isDeepStrictEqual an invalid Date equals no other.
  if (wanted instanceof Date) assert.ok(Object.is((got as Date).getTime(), wanted.getTime()));
  else if (wanted instanceof Map) assertSame([...(got as typeof wanted)], [...wanted], seen);
  else if (wanted instanceof Set) assertSame([...(got as typeof wanted)], [...wanted], seen);
  else if (!Array.isArray(wanted) && Object.prototype.toString.call(wanted) !== "[object Object]") {
    assert.ok(isDeepStrictEqual(got, wanted));
    return;
  }
  for (const key of Reflect.ownKeys(wanted)) {
    assertSame((got as Record<PropertyKey, unknown>)[key], Reflect.get(wanted, key), seen);
  }
}

const errors = fc
  .record({
    make: fc.constantFrom<(text: string, cause: unknown) => Error>(
      (text, cause) => new Error(text, { cause }),
      (text) => new TypeError(text),
      (text) => Object.assign(new RangeError(text), { code: "E_RANGE", errno: -5 }),
      (text, cause) => new AggregateError([new Error("one"), cause], text),
      (text) => new ZcacheError("ERR_KEY", text, { context: { bytes: 3 }, cause: new Error("x") }),
      (text) => Object.assign(new SyntaxError(text), { name: "TimeoutError" }),
      () => new EvalError(),
    ),
    text: fc.string(),
    cause: fc.anything(),
  })
  .map(({ make, text, cause }) => make(text, cause));

const builtIns = fc.oneof(
  errors,
  fc.date({ noInvalidDate: false }),
  fc
    .constantFrom(
      () => /a(?<b>c)/giu,
      () => /x/y,
      () => /\//,
    )
    .map((make) => {
      const made = make();
      made.lastIndex = 3;
      return made;
    }),
  fc.webUrl().map((url) => new URL(url)),
  fc.array(fc.tuple(fc.string(), fc.string())).map((pairs) => new URLSearchParams(pairs)),
  fc.uint8Array().map((bytes) => bytes.buffer.slice(0)),
  fc.uint8Array().map((bytes) => Buffer.from(bytes)),
  fc.uint8Array({ minLength: 8 }).map((bytes) => new DataView(bytes.buffer, 3, 4)),
  fc.bigInt64Array(),
  fc.float64Array(),
  fc.uint16Array().map((array) => array.subarray(1)),
  fc.constantFrom(...[1, -0, Number.NaN, "text", "漢", true, 5n ** 70n]).map((one) => Object(one)),
  fc.string().map((text) => new DOMException(text, "AbortError")),
  fc.float32Array().map((array) => Object.assign(array, { note: "x" })),
  fc.array(fc.anything()).map((list) => {
    const sparse: unknown[] = [...list, 1];
    sparse.length += 3;
    delete sparse[0];
    return Object.assign(sparse, { index: 3, more: list });
  }),
);

const anything = fc.anything({
  withBigInt: true,
  withBoxedValues: true,
  withDate: true,
  withMap: true,
  withNullPrototype: true,
  withObjectString: true,
  withSet: true,
  withSparseArray: true,
  withTypedArray: true,
  withUnicodeString: true,
  values: [
    fc.boolean(),
    fc.integer(),
    fc.double(),
    fc.string({ unit: "binary" }),
    fc.constantFrom(null, undefined, Number.NaN, -0, 2 ** 31, -(2 ** 31), "\ud800", "__proto__"),
    fc.bigInt(),
    builtIns,
  ],
  maxDepth: 4,
});

test("random values are returned equal", () => {
  fc.assert(
    fc.property(anything, (value) => assertSame(trip(value), value)),
    { numRuns: 2000 },
  );
});

test("reads what V8 has written; V8 reads plain values", () => {
  fc.assert(
    fc.property(
      fc.anything({ withBigInt: true, withMap: true, withSet: true, withDate: true }),
      (value) => {
        assertSame(serializer.decode(v8.serialize(value)), v8.deserialize(v8.serialize(value)));
        assertSame(v8.deserialize(serializer.encode(value)), value);
      },
    ),
    { numRuns: 500 },
  );
  const views = {
    a: new Uint16Array([1, 2]),
    b: Buffer.from("x"),
    c: new DataView(new ArrayBuffer(3)),
  };
  const got = serializer.decode(v8.serialize(views)) as typeof views;
  assertSame(got.a, views.a);
  assertSame(got.b, views.b);
  assertSame(got.c, views.c);
});

test("cycles and shared references, through every kind of container", () => {
  const shared = { shared: true };
  const error = new Error("e");
  const bare = Object.assign(Object.create(null) as object, { shared });
  const list = Object.assign([shared], { self: shared });
  const date = Object.assign(new Date(5), { shared });
  const map = new Map<unknown, unknown>([
    ["a", shared],
    [shared, 1],
  ]);
  const set = new Set<unknown>([shared, error]);
  const root: Record<string, unknown> = { shared, error, bare, list, date, map, set };
  Object.assign(error, { root, cause: error });
  Object.assign(bare, { root, bare });
  Object.assign(list, { root });
  Object.assign(date, { date });
  Object.assign(map, { map });
  map.set("root", root);
  set.add(set);
  root["root"] = root;
  const got = trip(root) as typeof root & Record<string, { [key: string]: unknown }>;
  const { shared: same } = got as { shared: object };
  assert.equal(got["root"], got);
  assert.equal(got["error"]!["root"], got);
  assert.equal(got["error"]!["cause"], got["error"]);
  assert.equal(got["bare"]!["shared"], same);
  assert.equal(got["bare"]!["bare"], got["bare"]);
  assert.equal((got["list"] as unknown as unknown[])[0], same);
  assert.equal(got["list"]!["self"], same);
  assert.equal(got["list"]!["root"], got);
  assert.equal(got["date"]!["date"], got["date"]);
  assert.equal(got["date"]!["shared"], same);
  const gotMap = got["map"] as unknown as Map<unknown, unknown> & { map: unknown };
  assert.equal(gotMap.map, gotMap);
  assert.equal(gotMap.get("root"), got);
  assert.equal(gotMap.get(same), 1);
  const gotSet = got["set"] as unknown as Set<unknown>;
  assert.ok(gotSet.has(gotSet) && gotSet.has(same) && gotSet.has(got["error"]));
});

test("details that are easily lost are kept", () => {
  const names = Object.keys(trip({ z: 1, a: 2, 10: 3, 2: 4 }));
  assert.deepEqual(names, ["2", "10", "z", "a"]);
  const own = trip(JSON.parse('{"__proto__":{"polluted":1},"constructor":2}'));
  assert.ok(Object.hasOwn(own, "__proto__") && Object.getPrototypeOf(own) === Object.prototype);
  assert.equal((own as { polluted?: number }).polluted, undefined);
  assert.ok(Object.hasOwn(trip({ u: undefined }), "u"));
  assert.deepEqual(
    trip({
      get x() {
        return [1];
      },
    }),
    { x: [1] },
  );
  const match = trip("2024-05".match(/(?<year>\d+)-(?<month>\d+)/)!);
  assert.equal(match.groups?.["month"], "05");
  assert.equal(match.index, 0);
  assert.equal(Object.getPrototypeOf(match.groups), null);
  const huge: unknown[] = [];
  huge[4_000_000_000] = "end";
  assert.deepEqual(Object.keys(trip(huge)), ["4000000000"]);
  assert.equal(trip(huge).length, 4_000_000_001);
  assert.equal(trip(new Array(5)).length, 5);
  assert.equal(Object.keys(trip(new Array(5))).length, 0);
  const pooled = Buffer.from("of the pool");
  assert.equal(trip({ pooled }).pooled.buffer.byteLength, pooled.length);
  const context = vm.createContext({});
  const foreign = vm.runInContext(
    "({ list: [1, { a: 1 }], map: new Map([[1, 2]]), date: new Date(7), error: TypeError('t') })",
    context,
  ) as { list: unknown[]; map: Map<number, number>; date: Date; error: Error };
  const made = trip(foreign);
  assert.deepEqual(made.list, [1, { a: 1 }]);
  assert.ok(made.map.get(1) === 2 && made.date.getTime() === 7);
  assert.ok(made.error instanceof TypeError && made.error.message === "t");
  const system = (() => {
    try {
      return process.chdir("/there/is/no/such/folder");
    } catch (error) {
      return error;
    }
  })() as NodeJS.ErrnoException;
  assert.ok(trip(system).code === "ENOENT" && trip(system).syscall === system.syscall);
});

class User {
  readonly name: string;
  readonly #secret = 5;
  constructor(name: string) {
    this.name = name;
  }
  secret() {
    return this.#secret;
  }
}
class Tags extends Set<string> {}
class HttpError extends Error {
  override readonly name = "HttpError";
  readonly status = 404;
}
class List extends Array<number> {}

/** Values that are refused, with the path and the reason in the message. */
const REFUSED: readonly [name: string, value: () => unknown, path: string, reason: RegExp][] = [
  [
    "a function",
    () => ({ user: { handlers: [1, 2, () => 3] } }),
    "value.user.handlers[2]",
    /function/,
  ],
  ["a method", () => ({ "a b": { f() {} } }), 'value["a b"].f', /function/],
  ["a symbol", () => [Symbol("x")], "value[0]", /symbol/],
  ["a boxed symbol", () => [Object(Symbol("x"))], "value[0]", /symbol/],
  ["a key that is a symbol", () => ({ a: { [Symbol("s")]: 1 } }), "value.a[Symbol(s)]", /symbol/],
  ["WeakMap", () => ({ w: new WeakMap() }), "value.w", /WeakMap/],
  ["WeakSet", () => new WeakSet(), "value", /WeakSet/],
  ["WeakRef", () => [new WeakRef({})], "value[0]", /WeakRef/],
  ["Promise", () => ({ p: Promise.resolve(1) }), "value.p", /Promise/],
  ["a generator", () => (function* () {})(), "value", /Generator/],
  ["an async generator", () => (async function* () {})(), "value", /Generator/],
  ["iterators", () => [[1].values()], "value[0]", /Iterator/],
  ["an iterator of a map", () => new Map().keys(), "value", /Iterator/],
  ["a stream", () => ({ s: Readable.from([1]) }), "value.s", /Readable/],
  ["a web stream", () => new ReadableStream(), "value", /ReadableStream/],
  ["Blob", () => ({ b: new Blob(["x"]) }), "value.b", /Blob/],
  ["Headers", () => new Headers(), "value", /Headers/],
  ["Response", () => new Response("x"), "value", /Response/],
  ["FormData", () => new FormData(), "value", /FormData/],
  ["AbortSignal", () => new AbortController().signal, "value", /AbortSignal/],
  ["MessagePort", () => new MessageChannel(), "value", /MessageChannel/],
  ["SharedArrayBuffer", () => [new SharedArrayBuffer(8)], "value[0]", /SharedArrayBuffer/],
  ["WebAssembly.Memory", () => Arena.create({ sizeBytes: 1 << 20 }).memory, "value", /Memory/],
  ["Intl", () => new Intl.NumberFormat(), "value", /NumberFormat/],
  ["a server", () => createServer(), "value", /Server/],
  ["a proxy", () => ({ p: new Proxy({ a: 1 }, {}) }), "value.p", /Proxy/],
  ["a proxy of an array", () => new Proxy([1], {}), "value", /Proxy/],
  ["a proxy that throws", () => new Proxy({}, { ownKeys: () => assert.fail() }), "value", /Proxy/],
  ["Math", () => ({ m: Math }), "value.m", /Math/],
  [
    "arguments",
    () =>
      (function (..._: unknown[]) {
        // biome-ignore lint/complexity/noArguments: the test needs an arguments object
        return arguments;
      })(1),
    "value",
    /arguments/,
  ],
  ["what only says it is a Map", () => Object.create(Map.prototype), "value", /Map/],
  ["in a map's value", () => ({ m: new Map([["k", () => 1]]) }), 'value.m.get("k")', /function/],
  ["in a map's key", () => new Map([[() => 1, 1]]), "value.keys()[0]", /function/],
  ["in a set", () => new Set([1, Symbol("x")]), "value.values()[1]", /symbol/],
  ["in an error", () => ({ e: Object.assign(new Error("x"), { f() {} }) }), "value", /function/],
  ["in a property of a list", () => Object.assign([1], { f() {} }), "value.f", /function/],
  [
    "a getter that throws",
    () => ({
      a: {
        get b() {
          throw new Error("boo");
        },
      },
    }),
    "value.a.b",
    /reading it failed/,
  ],
];

test("values that can't be encoded are refused with their path", () => {
  for (const [name, make, path, reason] of REFUSED) {
    for (const through of [serializer, plain]) {
      if (through === plain && /server|stream/.test(name)) continue;
      assert.throws(
        () => through.encode(make()),
        (error) => {
          assert.ok(error instanceof ZcacheError && error.code === "ERR_VALUE", name);
          assert.ok(error.message.startsWith(`${path}: `) || name === "in an error", error.message);
          assert.match(error.message, reason);
          return true;
        },
        name,
      );
    }
  }
});

test("instances of classes: refused with both remedies, or stored as plain objects", () => {
  const instances: [value: object, path: string, name: string][] = [
    [{ list: [new User("Ada")] }, "value.list[0]", "User"],
    [new Tags(["a"]), "value", "Tags"],
    [new HttpError("x"), "value", "HttpError"],
    [new List(3), "value", "List"],
    [{ a: Object.create({ inherited: 1 }) }, "value.a", "prototype"],
    [{ b: new (class extends Uint8Array {})(3) }, "value.b", ""],
    [{ o: new (class {})() }, "value.o", ""],
  ];
  for (const [value, path, name] of instances) {
    assert.throws(
      () => serializer.encode(value),
      (error) => {
        assert.ok(error instanceof ZcacheError && error.code === "ERR_VALUE");
        assert.ok(error.message.startsWith(`${path}: `), error.message);
        assert.ok(error.message.includes(name), error.message);
        assert.match(error.message, /classes: "plain".* serializer/);
        return true;
      },
    );
  }
  assertSame(trip({ list: [new User("Ada")] }, plain), { list: [{ name: "Ada" }] });
  assertSame(trip(new Tags(["a"]), plain), new Set(["a"]));
  assertSame(trip(List.of(3), plain), [3]);
  const error = trip(new HttpError("gone"), plain);
  assert.equal(Object.getPrototypeOf(error), Error.prototype);
  assert.ok(error.name === "HttpError" && error.status === 404 && error.message === "gone");
});

test("the limit of depth holds for both directions; an object may occur in many places", () => {
  const nested = (depth: number) => {
    let value: unknown = 1;
    for (let at = 0; at < depth; at++) value = at % 2 === 0 ? [value] : { value };
    return value;
  };
  assert.ok(trip(nested(1500)));
  assert.throws(() => serializer.encode(nested(1501)), /too deep/);
  assert.throws(() => serializer.encode(nested(1_000_000)), /too deep/);
  const shared = nested(10);
  const many = Array.from({ length: 5000 }, () => shared);
  const got = trip(many);
  assert.ok(got.every((one) => one === got[0]));
  assert.ok(serializer.encode(many).length < 30_000);
});

test("the option `classes`, its default, and the form of the path", () => {
  using cache = Cache.create<string, unknown>({ backgroundMs: 0 });
  assert.throws(
    () => cache.set("k", { user: { handlers: [0, 1, () => 2] } }),
    /^ZcacheError: value\.user\.handlers\[2\]: function$/,
  );
  assert.throws(() => cache.set("k", new User("Ada")), /classes: "plain"/);
  using loose = Cache.create<string, unknown>({ backgroundMs: 0, classes: "plain" });
  loose.set("k", new User("Ada"));
  assert.deepEqual(loose.get("k"), { name: "Ada" });
  const other = Cache.attach<string, unknown>(loose.share());
  other.set("k", new User("Bea"));
  assert.deepEqual(other.get("k"), { name: "Bea" });
  other.detach();
  assert.throws(() => Cache.create({ classes: "keep" as never }), /"refuse" or "plain"/);
});
