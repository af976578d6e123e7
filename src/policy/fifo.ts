// fifo evicts the oldest page, used or not. It is the baseline for the other policies.
// lru evicts the least recently used page: the order of the kernel's zswap, exact here, at the cost
// of a list update per hit.
import { NIL, type Nil, type WordIndex } from "../base/brand.ts";
import type { Arena } from "../memory/arena.ts";
import type { EvictionPolicy, PolicySpace } from "./contract.ts";
import * as Policy from "./policy.layout.ts";
import { EntryQueue } from "./queue.ts";

export class Fifo implements EvictionPolicy {
  readonly name: string = "fifo";
  readonly framesHeld = 0;
  readonly tracksRequests = false;
  protected readonly queue: EntryQueue;

  constructor(arena: Arena, at: WordIndex, space: PolicySpace) {
    this.queue = new EntryQueue(arena.words, at + Policy.QUEUE, space.links);
  }

  get count(): number {
    return this.queue.count;
  }

  format(): void {
    this.queue.format();
  }

  destroy(): void {}

  recordRequest(_hash: number): void {}

  push(entry: WordIndex, _hash: number): void {
    this.queue.addNewest(entry);
  }

  recordHit(_entry: WordIndex): void {}

  wantsHit(_meta: number): boolean {
    return false;
  }

  remove(entry: WordIndex): void {
    if (this.queue.isListed(entry)) this.queue.remove(entry);
  }

  evict(entry: WordIndex, _hash: number): void {
    this.remove(entry);
  }

  relocate(from: WordIndex, to: WordIndex): void {
    this.queue.relocate(from, to);
  }

  victim(): WordIndex | Nil {
    return this.queue.oldest();
  }

  next(entry: WordIndex | Nil): WordIndex | Nil {
    return entry === NIL ? this.queue.oldest() : this.queue.newer(entry);
  }

  verify(visit?: (entry: WordIndex) => void): void {
    this.queue.verify(visit);
  }
}

export class Lru extends Fifo {
  override readonly name = "lru";

  override recordHit(entry: WordIndex): void {
    if (this.queue.isListed(entry)) this.queue.renew(entry);
  }

  override wantsHit(_meta: number): boolean {
    return true;
  }
}
