// Warm-up of a thread before it serves: requests of every common kind on a device of its own.
//
// V8 compiles what runs often, and only compiled code is fast. Without a warm-up the first client
// waits: half of what a thread does in its first second is compiling.
//
// The device lies in the served store. In a store of its own, which is thrown away, V8 would see
// the functions of two instances of the kernels: every later write took 6 % longer.
import { Xorshift32 } from "../base/random.ts";
import type { Zram } from "../zram/zram.ts";
import { Command, REQUEST_BYTES } from "./protocol/protocol.ts";
import { Request, writeRequest } from "./protocol/transmission.ts";
import { type Link, SendQueue } from "./send_queue.ts";
import type { ConnectionBuffers, ThreadShare } from "./session.ts";
import { Transmission } from "./transmission.ts";

/** Pages of the device for each thread, and of a long request, which fits in a block. */
export const WARM_UP_PAGES = 1024;
const LONG_PAGES = 15;
/** Short requests between two long ones. */
const SHORT = 12;

function rethrow(error: unknown): never {
  throw error;
}

/** Takes everything and sends nothing. */
const NULL_LINK: Link = { send: () => true, resume: () => {}, close: () => {}, fail: rethrow };

export class WarmUp {
  readonly #device: Zram;
  readonly #input: Buffer;
  readonly #first: number;
  readonly #transmission: Transmission;
  readonly #request = new Request();
  readonly #chance = new Xorshift32(1);

  /**
   * @param device of WARM_UP_PAGES for each thread that the store may have
   * @param buffers of a connection, in use until `run` ends
   */
  constructor(device: Zram, { input, blocks }: ThreadShare, { block, held }: ConnectionBuffers) {
    this.#device = device;
    this.#input = input.buffer;
    this.#first = (device.arena.thread - 1) * WARM_UP_PAGES;
    const agreed = {
      export: { name: "", description: "", readOnly: false, device },
      structured: true,
      allocation: true,
    };
    this.#transmission = new Transmission({
      agreed,
      link: NULL_LINK,
      queue: new SendQueue(NULL_LINK, block, blocks),
      input: input.address,
      held,
      times: undefined,
    });
  }

  /** Runs for so long; between rounds of requests the thread does other work. */
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

  /** A request of one page at a random place. */
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
    return this.#first + this.#chance.below(WARM_UP_PAGES);
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

  /** Fills a page: zeros, compressible or incompressible bytes, by `nth`. @returns its bytes */
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
