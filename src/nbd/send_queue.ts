// The send queue of one connection: replies are written to blocks of the arena, into which pages
// are decompressed, and each block is handed to the socket as a whole.
//
// A block that the system does not take at once stays in use until the socket has drained. A
// connection owns one block and takes further ones from a set that the thread's connections share,
// at most BLOCKS_OUT_MAX at a time: so a client that does not read delays only itself.
import type { Address } from "../base/brand.ts";
import type { Zram } from "../zram/zram.ts";

export const BLOCKS_OUT_MAX = 4;
/** The size of a block: so many pages, the most that scratch can have, or so many bytes. */
const BLOCK_PAGES = 16;
const BLOCK_BYTES_MAX = 256 * 1024;

/** What a connection sends bytes through: a socket, or TLS over one. */
export interface Link {
  /**
   * Sends bytes. @returns whether the system has taken them; if not, they must stay unchanged
   * until the connection's `drained` is called
   */
  send(bytes: Uint8Array): boolean;
  /** Reads on. */
  resume(): void;
  /** Ends the connection once the system has taken all bytes. */
  close(): void;
  /** Reports an unexpected error and ends the connection at once. */
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

export class SendQueue {
  readonly #link: Link;
  readonly #shared: Block[];
  /** The connection's own block, while it is not in use. */
  #own: Block | undefined;
  readonly #ownBlock: Block;
  #current: Block | undefined;
  #used = 0;
  readonly #out: Block[] = [];
  /** Number of blocks sent: bytes of an earlier block can't be taken back. */
  turn = 0;

  constructor(link: Link, own: Block, shared: Block[]) {
    this.#link = link;
    this.#ownBlock = own;
    this.#own = own;
    this.#shared = shared;
  }

  /** Makes room for so many bytes, at most a block; sends the current block if it must. */
  room(sizeBytes: number): boolean {
    if (this.left >= sizeBytes) return true;
    this.flush();
    this.#current ??= this.#take();
    return this.#current !== undefined;
  }

  /** Free bytes of the current block. */
  get left(): number {
    return this.#current === undefined ? 0 : this.#current.buffer.length - this.#used;
  }

  /** Where the next byte goes. */
  get address(): Address {
    return (this.#current!.address + this.#used) as Address;
  }

  /** Bytes written to the current block. */
  get used(): number {
    return this.#used;
  }

  advance(sizeBytes: number): void {
    this.#used += sizeBytes;
  }

  /** Takes back what was written to the current block behind `used`. */
  cutTo(used: number): void {
    this.#used = used;
  }

  /** Sends the current block. */
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

  /** The link has drained: all sent blocks are free. */
  drained(): void {
    for (const block of this.#out.splice(0)) this.#giveBack(block);
  }

  /** The connection has ended: shared blocks go back. */
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
