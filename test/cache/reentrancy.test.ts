// Code of the caller may use the cache wherever the cache runs it: getters of values and options,
// serializers, iterators, loop bodies, loaders, listeners. Random nestings of these are compared
// with a Map.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Cache, type Serializer, ZcacheError } from "../../src/index.ts";
import { createCache } from "../doubles/test_caches.ts";

interface Step {
  readonly what: (typeof WHATS)[number];
  readonly key: number;
  /** What the value is like, or where the foreign code is. */
  readonly kind: number;
  readonly inner: readonly Step[];
}

const WHATS = [
  "set",
  "get",
  "delete",
  "has",
  "touch",
  "setMany",
  "getMany",
  "keys",
  "fetch",
] as const;
const KEYS = 5;
/** Longer than a page of the store. */
const LONG = 20_000;

const steps = fc.letrec<{ step: Step; list: Step[] }>((tie) => ({
  list: fc.array(tie("step"), { maxLength: 3 }),
  step: fc.record({
    what: fc.constantFrom(...WHATS),
    key: fc.nat(KEYS - 1),
    kind: fc.nat(5),
    inner: fc.oneof({ depthSize: "small", withCrossShrink: true }, fc.constant([]), tie("list")),
  }),
})).step;

/** Runs steps on a cache and a Map; caller's code of a step runs the steps nested in it. */
class Runner {
  readonly model = new Map<string, unknown>();
  readonly cache: Cache<string, unknown>;
  /** What the serializer is to do when it is called next. */
  #onEncode: (() => void) | undefined;
  #onDecode: (() => void) | undefined;
  #count = 0;

  constructor(withSerializer: boolean) {
    const serializer: Serializer = {
      encode: (value) => {
        const bytes = Buffer.from(JSON.stringify(value));
        this.#take("encode")?.();
        return bytes;
      },
      decode: (bytes) => {
        this.#take("decode")?.();
        return JSON.parse(Buffer.from(bytes).toString());
      },
    };
    this.cache = createCache({
      memoryMax: "16MiB",
      backgroundMs: 0,
      dictionary: false,
      ...(withSerializer ? { serializer } : {}),
    });
  }

  run(step: Step): void {
    const key = `key${step.key}`;
    const inner = () => {
      for (const one of step.inner) this.run(one);
    };
    const { cache, model } = this;
    switch (step.what) {
      case "set":
        this.#set(key, step.kind, inner);
        break;
      case "get":
        this.#get(key, step.kind, inner);
        break;
      case "delete":
        assert.equal(cache.delete(key), model.delete(key));
        inner();
        break;
      case "has":
        assert.equal(cache.has(key), model.has(key));
        inner();
        break;
      case "touch": {
        const found = cache.touch(key, {
          get ttl() {
            inner();
            return "1h";
          },
        });
        assert.equal(found, model.has(key));
        break;
      }
      case "setMany":
        this.#setMany(step, inner);
        break;
      case "getMany":
        this.#getMany(step, inner);
        break;
      case "keys": {
        const before = new Set(model.keys());
        const met = new Set<string>();
        for (const one of cache.keys()) {
          met.add(one);
          if (met.size === 1) inner();
        }
        for (const one of before) assert.ok(met.has(one) || met.size > 0);
        break;
      }
      case "fetch":
        // Only code that runs synchronously: getters of the options, before the rest of the call.
        cache
          .fetch(key, () => undefined, {
            get forceRefresh() {
              inner();
              return false;
            },
          })
          .catch(() => undefined);
        break;
    }
  }

  check(): void {
    for (let nth = 0; nth < KEYS; nth++) {
      assert.deepEqual(this.cache.get(`key${nth}`), this.model.get(`key${nth}`), `key${nth}`);
    }
    assert.equal(this.cache.size, this.model.size);
    this.cache.group.verify();
  }

  #take(which: "encode" | "decode"): (() => void) | undefined {
    const hook = which === "encode" ? this.#onEncode : this.#onDecode;
    if (which === "encode") this.#onEncode = undefined;
    else this.#onDecode = undefined;
    return hook;
  }

  #set(key: string, kind: number, inner: () => void): void {
    const { cache, model } = this;
    const nth = ++this.#count;
    const text = kind % 2 === 0 ? `v${nth}` : `v${nth}`.repeat(LONG / 4);
    if (kind < 2) {
      cache.set(key, text, {
        get ttl() {
          inner();
          return "1h";
        },
      });
      model.set(key, text);
    } else if (kind < 4) {
      cache.set(key, {
        text,
        get x() {
          inner();
          return nth;
        },
      });
      model.set(key, { text, x: nth });
    } else {
      this.#onEncode = inner;
      cache.set(key, { text, nth });
      this.#onEncode = undefined;
      model.set(key, { text, nth });
    }
  }

  #get(key: string, kind: number, inner: () => void): void {
    const { cache, model } = this;
    if (kind < 3) {
      const value = cache.get(key, {
        get allowStale() {
          inner();
          return false;
        },
      });
      assert.deepEqual(value, model.get(key));
    } else {
      const expected = model.get(key);
      this.#onDecode = inner;
      const value = cache.get(key);
      this.#onDecode = undefined;
      assert.deepEqual(value, expected);
    }
  }

  #setMany(step: Step, inner: () => void): void {
    const { cache, model } = this;
    const keys = [`key${step.key}`, `key${(step.key + 1) % KEYS}`];
    const nth = ++this.#count;
    const entries = (function* () {
      for (const key of keys) {
        inner();
        yield [key, nth] as const;
        // The iteration goes on once the entry is stored.
        model.set(key, nth);
      }
    })();
    assert.equal(cache.setMany(entries), 2);
  }

  #getMany(step: Step, inner: () => void): void {
    const keys = [`key${step.key}`, `key${(step.key + 1) % KEYS}`];
    const expected: unknown[] = [];
    const { model } = this;
    const asked = (function* () {
      for (const key of keys) {
        inner();
        expected.push(model.get(key));
        yield key;
      }
    })();
    assert.deepEqual(this.cache.getMany(asked), expected);
  }
}

for (const withSerializer of [false, true]) {
  test(`nested calls have the same effect as consecutive calls${
    withSerializer ? ", with a serializer" : ""
  }`, () => {
    fc.assert(
      fc.property(fc.array(steps, { maxLength: 8 }), (list) => {
        const runner = new Runner(withSerializer);
        try {
          for (const step of list) runner.run(step);
          runner.check();
        } finally {
          runner.cache.close();
        }
      }),
      { numRuns: 150 },
    );
  });
}

function code(name: string) {
  return (error: unknown) => error instanceof ZcacheError && error.code === name;
}

test("caller's code closes or detaches the cache: the call throws, and writes nothing", () => {
  for (const end of ["close", "detach"] as const) {
    const cache = createCache<string, unknown>({ memoryMax: "4MiB", backgroundMs: 0 });
    const other = Cache.attach<string, unknown>(cache.share());
    other.set("kept", "k".repeat(3000));
    const value = {
      get x() {
        cache[end]();
        return "y".repeat(3000);
      },
    };
    assert.throws(() => cache.set("a", value), code("ERR_STORE_CLOSED"));
    assert.throws(() => cache.set("a", "text"), code("ERR_STORE_CLOSED"));
    if (end === "detach") {
      assert.equal(other.get("kept"), "k".repeat(3000));
      other.group.verify();
      other.close();
    }
  }
});

test("a getter runs once for each set, however deeply sets are nested in it", () => {
  using cache = createCache<string, unknown>({ memoryMax: "8MiB", backgroundMs: 0 });
  const DEPTH = 60;
  let calls = 0;
  const setAt = (depth: number) => {
    cache.set(`k${depth}`, {
      depth,
      get inner() {
        calls++;
        if (depth < DEPTH) setAt(depth + 1);
        return depth;
      },
    });
  };
  setAt(0);
  assert.equal(calls, DEPTH + 1);
  for (let depth = 0; depth <= DEPTH; depth++) {
    assert.deepEqual(cache.get(`k${depth}`), { depth, inner: depth });
  }
});
