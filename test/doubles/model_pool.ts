// A model of a pool: a Map of the stored objects, compared with the real pool. The content of an
// object depends on its number, so a byte of another, an old or a moved object is detected.
import assert from "node:assert/strict";
import type { Address, Handle } from "../../src/base/brand.ts";
import type { Arena } from "../../src/memory/arena.ts";
import type { Zpool } from "../../src/pool/contract.ts";

interface Stored {
  readonly sizeBytes: number;
  readonly seed: number;
}

export class ModelPool {
  readonly objects = new Map<Handle, Stored>();
  /** Handles that were freed or evicted, newest last. */
  readonly dead: Handle[] = [];
  readonly arena: Arena;
  readonly pool: Zpool;
  readonly #source: Address;
  readonly #target: Address;
  #serial = 0;

  constructor(arena: Arena, pool: Zpool) {
    this.arena = arena;
    this.pool = pool;
    this.#source = arena.reserve(arena.pageSize);
    this.#target = arena.reserve(arena.pageSize);
  }

  /** Allocates and fills an object. @returns its handle or the pool's refusal */
  put(sizeBytes: number): number {
    const handle = this.pool.malloc(sizeBytes);
    if (handle < 0) return handle;
    assert.ok(!this.objects.has(handle as Handle), "a handle in use is given out again");
    this.objects.set(handle as Handle, { sizeBytes, seed: ++this.#serial });
    this.rewrite(handle as Handle);
    return handle;
  }

  /** Writes the object's pattern (again). */
  rewrite(handle: Handle): void {
    const { sizeBytes, seed } = this.objects.get(handle)!;
    this.#fill(this.#source, sizeBytes, seed);
    assert.equal(this.pool.write(handle, this.#source, sizeBytes), 0);
  }

  /** Reads an object back and compares every byte. */
  check(handle: Handle): void {
    const { sizeBytes, seed } = this.objects.get(handle)!;
    assert.equal(this.pool.read(handle, this.#target, sizeBytes), 0);
    this.#checkBytes(this.#target, sizeBytes, seed, `object ${handle}`);
  }

  /** Compares the bytes at an address (a mapping) with the object's pattern. */
  checkAt(handle: Handle, at: Address): void {
    const { sizeBytes, seed } = this.objects.get(handle)!;
    this.#checkBytes(at, sizeBytes, seed, `mapped object ${handle}`);
  }

  remove(handle: Handle): void {
    assert.equal(this.pool.free(handle), 0);
    this.forget(handle);
  }

  /** Records that the object was evicted. */
  forget(handle: Handle): void {
    assert.ok(this.objects.delete(handle), "an object goes once");
    this.dead.push(handle);
  }

  /** Everything that can be said after any step. */
  checkAll(): void {
    this.pool.verify();
    for (const handle of this.objects.keys()) this.check(handle);
    assert.equal(this.pool.stats().objects, this.objects.size);
  }

  /** Changes the pattern of an object, without writing it. */
  renew(handle: Handle): void {
    const { sizeBytes } = this.objects.get(handle)!;
    this.objects.set(handle, { sizeBytes, seed: ++this.#serial });
  }

  /** Fills a mapping with the object's pattern. */
  fillAt(handle: Handle, at: Address): void {
    const { sizeBytes, seed } = this.objects.get(handle)!;
    this.#fill(at, sizeBytes, seed);
  }

  pick(index: number): Handle | undefined {
    const handles = [...this.objects.keys()];
    return handles.length === 0 ? undefined : handles[index % handles.length];
  }

  #fill(at: number, sizeBytes: number, seed: number): void {
    for (let i = 0; i < sizeBytes; i++) this.arena.bytes[at + i] = byteOf(seed, i);
  }

  #checkBytes(at: number, sizeBytes: number, seed: number, what: string): void {
    for (let i = 0; i < sizeBytes; i++) {
      if (this.arena.bytes[at + i] !== byteOf(seed, i)) {
        assert.fail(`${what}: byte ${i} of ${sizeBytes} is another's`);
      }
    }
  }
}

function byteOf(seed: number, index: number): number {
  return ((Math.imul(seed, 0x9e3779b1) >>> ((index & 3) * 8)) ^ (index >>> 2)) & 0xff;
}
