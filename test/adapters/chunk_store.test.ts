// The tests of abstract-chunk-store over a store of pages, and further tests.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { test } from "node:test";
import { promisify } from "node:util";
import { ZcacheChunkStore } from "../../src/adapters/chunk_store.ts";
import { createStore, ZcacheError } from "../../src/index.ts";

/** What the tests ask of the `t` of tape. */
interface Tape {
  error(error: unknown): void;
  ok(value: unknown): void;
  equal(actual: unknown, expected: unknown): void;
  deepEqual(actual: unknown, expected: unknown): void;
  end(): void;
}

type TapeTests = (
  test: (name: string, body: (t: Tape) => void) => void,
  Store: typeof ZcacheChunkStore,
) => void;

const suite = createRequire(import.meta.url)("abstract-chunk-store/tests") as TapeTests;
const STORE_OPTIONS = { memoryMax: "8MiB" };

/** As the suite makes them, `new Store(10)`, but smaller. */
class SmallChunkStore extends ZcacheChunkStore {
  constructor(chunkLength: number) {
    super(chunkLength, { storeOptions: STORE_OPTIONS });
  }
}

suite((name, body) => {
  test(`suite: ${name}`, (_, done) => {
    body({
      error: (error) => assert.ok(!error, String(error)),
      ok: (value) => assert.ok(value),
      equal: (actual, expected) => assert.equal(actual, expected),
      deepEqual: (actual, expected) => assert.deepEqual(actual, expected),
      end: () => done(),
    });
  });
}, SmallChunkStore);

function promised(store: ZcacheChunkStore) {
  return {
    put: promisify(store.put.bind(store)) as (index: number, chunk: Uint8Array) => Promise<void>,
    get: promisify((index: number, range: object | null, done: (e: unknown, c?: Buffer) => void) =>
      store.get(index, range, done),
    ) as (index: number, range: object | null) => Promise<Buffer>,
    close: promisify(store.close.bind(store)),
    destroy: promisify(store.destroy.bind(store)),
  };
}

function chunkOf(bytes: number, seed: number): Buffer {
  return Buffer.from(Uint8Array.from({ length: bytes }, (_, i) => (i * seed) >>> (i & 7)));
}

test("chunks of many pages, the last one shorter, and any part of them", async () => {
  const store = new ZcacheChunkStore(100_000, { length: 250_001, storeOptions: STORE_OPTIONS });
  const { put, get, destroy } = promised(store);
  const chunks = [chunkOf(100_000, 3), chunkOf(100_000, 5), chunkOf(50_001, 7)];
  for (const [index, chunk] of chunks.entries()) await put(index, chunk);
  for (const [index, chunk] of chunks.entries()) {
    assert.ok((await get(index, null)).equals(chunk));
    for (const [offset, length] of [
      [0, 0],
      [50_000, 1],
      [4095, 2],
      [1, 50_000],
    ] as const) {
      assert.deepEqual(
        await get(index, { offset, length }),
        chunk.subarray(offset, offset + length),
      );
    }
  }
  await assert.rejects(
    get(0, { offset: 99_999, length: 2 }),
    /offset 99999 and length 2 of 100000/,
  );
  await assert.rejects(put(3, chunks[2]!), /beyond the end/);
  await assert.rejects(put(2, chunks[0]!), /50001 bytes, not 100000/);
  await assert.rejects(put(-1, chunks[0]!), /a whole number from 0/);
  await destroy();
  await assert.rejects(get(0, null), (error: ZcacheError) => error.code === "ERR_STORE_CLOSED");
});

test("a chunk without room is refused as a whole", async () => {
  const store = new ZcacheChunkStore(1 << 20, {
    storeOptions: { memoryMax: "6MiB", codec: "none" },
  });
  const { put, get, close } = promised(store);
  let kept = 0;
  const failure = await (async () => {
    for (; kept < 10; kept++) await put(kept, chunkOf(1 << 20, 2 * kept + 1));
    return undefined;
  })().catch((error: ZcacheError) => error);
  assert.equal(failure?.code, "ERR_ARENA_FULL");
  assert.ok(kept >= 1 && kept < 6, `${kept}`);
  for (let index = 0; index < kept; index++) {
    assert.ok((await get(index, null)).equals(chunkOf(1 << 20, 2 * index + 1)));
  }
  await assert.rejects(get(kept, null), (error: Error & { notFound?: boolean }) => error.notFound);
  await close();
});

test("a given store stays open, and chunks with one uuid are shared", async () => {
  const pages = createStore({ memoryMax: "8MiB" });
  const uuid = new Uint8Array(16).fill(7);
  const [a, b] = [1, 2].map(() => promised(new ZcacheChunkStore(10, { store: pages, uuid })));
  const foreign = promised(new ZcacheChunkStore(10, { store: pages }));
  await a!.put(0, Buffer.from("0123456789"));
  assert.equal(String(await b!.get(0, null)), "0123456789");
  await assert.rejects(foreign.get(0, null), /there is no chunk 0/);
  await a!.close();
  assert.equal(String(await b!.get(0, null)), "0123456789");
  await b!.destroy();
  assert.ok(pages.stats().mem_used_total > 0);
  pages.verify();
  pages.close();
  assert.throws(() => new ZcacheChunkStore(0), ZcacheError);
  assert.throws(() => new ZcacheChunkStore(1.5), /whole number of bytes/);
  assert.throws(() => new ZcacheChunkStore(1, { store: pages, storeOptions: {} }), /not both/);
});
