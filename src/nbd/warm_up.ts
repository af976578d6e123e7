// What a thread does before it serves: it serves itself, requests of every common kind on a device
// that nobody sees, for a moment.
//
// The engine compiles what runs often, and only then is the code fast. Without practice it is the
// first client that waits: half of what a thread does in its first second is compiling.
import { Xorshift32 } from "../base/random.ts";
import type { Zram } from "../zram/zram.ts";
import { Command, REQUEST_BYTES } from "./protocol/protocol.ts";
import { Request, writeRequest } from "./protocol/transmission.ts";
import { type Link, Outbox } from "./send_queue.ts";
import type { Lane, ThreadShare } from "./session.ts";
import { Transmission } from "./transmission.ts";

/** Pages of a thread on the device; of a long request, which fits in a block with its head. */
export const PRACTICE_PAGES = 1024;
const LONG_PAGES = 15;
/** Short requests that arrive together: they fill no more than a block. */
const SHORT = 12;

/** Takes all that is sent. */
function rethrow(error: unknown): never {
  throw error;
}

const NOBODY: Link = { send: () => true, resume: () => {}, close: () => {}, fail: rethrow };

/** The practice of one thread. */
export class Practice {
  readonly #device: Zram;
  readonly #input: Buffer;
  readonly #first: number;
  readonly #transmission: Transmission;
  readonly #request = new Request();
  readonly #chance = new Xorshift32(1);

  /**
   * @param device for practice, PRACTICE_PAGES for each thread of its memory
   * @param lane of the thread, for as long as it practises
   */
  constructor(device: Zram, { input, blocks }: ThreadShare, { block, held }: Lane) {
    this.#device = device;
    this.#input = input.buffer;
    this.#first = (device.arena.thread - 1) * PRACTICE_PAGES;
    const agreed = {
      export: { name: "", description: "", readOnly: false, device },
      structured: true,
      allocation: true,
    };
    const out = new Outbox(NOBODY, block, blocks);
    this.#transmission = new Transmission(agreed, NOBODY, out, input.address, held);
  }

  /** Goes on until the time is over, and lets the thread do other things in between. */
  async run(ms: number): Promise<void> {
    for (const end = performance.now() + ms; performance.now() < end; ) {
      for (let nth = 0; nth < SHORT; nth++) this.#short(Command.WRITE, nth);
      this.#long(Command.WRITE);
      this.#long(Command.READ);
      this.#long(Command.BLOCK_STATUS);
      for (let nth = 0; nth < SHORT; nth++) this.#short(Command.READ, nth);
      this.#receive(this.#put(Command.TRIM, this.#page(), 1, 0));
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** A request of one page at any place. */
  #short(command: number, nth: number): void {
    let at = this.#put(command, this.#page(), 1, 0);
    if (command === Command.WRITE) at += this.#fill(at, nth);
    this.#receive(at);
  }

  #long(command: number): void {
    let at = this.#put(command, this.#first, LONG_PAGES, 0);
    for (let nth = 0; command === Command.WRITE && nth < LONG_PAGES; nth++) {
      at += this.#fill(at, nth);
    }
    this.#receive(at);
  }

  #page(): number {
    return this.#first + this.#chance.below(PRACTICE_PAGES);
  }

  /** Writes a request to the input, from `at` on. @returns where it ends */
  #put(command: number, page: number, pages: number, at: number): number {
    const request = this.#request;
    request.command = command;
    request.offset = page * this.#device.pageSize;
    request.lengthBytes = pages * this.#device.pageSize;
    writeRequest(this.#input, at, request);
    return at + REQUEST_BYTES;
  }

  /** Fills a page: with zeros, with what shrinks, or does not. @returns its bytes */
  #fill(at: number, nth: number): number {
    const { pageSize } = this.#device;
    const page = this.#input.subarray(at, at + pageSize);
    page.fill(0);
    if (nth % 6 === 0) return pageSize;
    for (let i = 0; i < pageSize; i += nth % 6) page[i] = this.#chance.next();
    return pageSize;
  }

  #receive(sizeBytes: number): void {
    this.#transmission.receive(sizeBytes);
  }
}
