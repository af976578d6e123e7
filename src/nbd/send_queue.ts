// Replies on their way to one client: gathered in blocks of the arena, into which pages are
// decompressed, and handed to the socket a block at a time.
//
// A block that the system has not taken at once is out until the socket has drained. A connection
// has one block of its own and may borrow some that the thread's connections share: a client that
// does not read stops only itself, and never has more than BLOCKS_OUT_MAX of them.
import type { Address } from "../base/brand.ts";
import type { Zram } from "../zram/zram.ts";

export const BLOCKS_OUT_MAX = 4;
/** A block has so many pages, as many as scratch comes in, or so many bytes. */
const BLOCK_PAGES = 16;
const BLOCK_BYTES_MAX = 256 * 1024;

/** What a connection sends its bytes through. */
export interface Link {
  /**
   * Hands bytes on. @returns whether they are taken; else they must stay as they are until the
   * connection is told that the link has drained
   */
  send(bytes: Uint8Array): boolean;
  /** Lets more come in. */
  resume(): void;
  /** Ends the connection when all that was sent is taken. */
  close(): void;
  /** Ends the connection at once, because of what nobody expected, and reports that. */
  fail(error: unknown): void;
}

export interface Block {
  readonly address: Address;
  readonly buffer: Buffer;
}

export function blockBytes(pageSize: number): number {
  return Math.min(pageSize * BLOCK_PAGES, BLOCK_BYTES_MAX);
}

/** @throws ZcacheError ERR_ARENA_FULL */
export function makeBlock(device: Zram): Block {
  const sizeBytes = blockBytes(device.pageSize);
  const address = device.reserve(sizeBytes);
  return { address, buffer: Buffer.from(device.bytes.buffer, address, sizeBytes) };
}

export class Outbox {
  readonly #link: Link;
  readonly #shared: Block[];
  /** The connection's own, while it is not in use. */
  #own: Block | undefined;
  readonly #ownBlock: Block;
  #current: Block | undefined;
  #used = 0;
  readonly #out: Block[] = [];
  /** Counts the blocks that have been handed on: what was written in an earlier one is gone. */
  turn = 0;

  constructor(link: Link, own: Block, shared: Block[]) {
    this.#link = link;
    this.#ownBlock = own;
    this.#own = own;
    this.#shared = shared;
  }

  /** Whether there is a place for so many bytes, at most a block; hands on what is in the way. */
  room(sizeBytes: number): boolean {
    if (this.left >= sizeBytes) return true;
    this.flush();
    this.#current ??= this.#take();
    return this.#current !== undefined;
  }

  /** Bytes left in the block. */
  get left(): number {
    return this.#current === undefined ? 0 : this.#current.buffer.length - this.#used;
  }

  /** Where the next byte goes: a place in the arena. */
  get address(): Address {
    return (this.#current!.address + this.#used) as Address;
  }

  /** How much of the block is filled. */
  get used(): number {
    return this.#used;
  }

  advance(sizeBytes: number): void {
    this.#used += sizeBytes;
  }

  /** Takes back what was written since the block was so full, in the same turn. */
  cutTo(used: number): void {
    this.#used = used;
  }

  /** Hands on what there is. */
  flush(): void {
    const block = this.#current;
    if (block === undefined || this.#used === 0) return;
    const isTaken = this.#link.send(block.buffer.subarray(0, this.#used));
    this.#used = 0;
    this.turn++;
    if (isTaken) return;
    this.#out.push(block);
    this.#current = undefined;
  }

  /** The link has drained: what was out is free. */
  drained(): void {
    for (const block of this.#out.splice(0)) this.#giveBack(block);
  }

  /** The connection has ended: what it borrowed goes back. */
  end(): void {
    this.drained();
    if (this.#current !== undefined) this.#giveBack(this.#current);
    this.#current = undefined;
    this.#used = 0;
  }

  #take(): Block | undefined {
    const own = this.#own;
    this.#own = undefined;
    if (own !== undefined) return own;
    return this.#out.length < BLOCKS_OUT_MAX ? this.#shared.pop() : undefined;
  }

  #giveBack(block: Block): void {
    if (block === this.#ownBlock) this.#own = block;
    else this.#shared.push(block);
  }
}
