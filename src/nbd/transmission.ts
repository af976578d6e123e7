// The transmission phase of one connection: requests in, replies out, pages in between.
//
// What arrives is worked off where it lies, in the thread's receive buffer: the pages of a WRITE
// are compressed straight from it, as they come, so that a request of 32 MiB needs no more memory
// than one of 4 KiB. The pages of a READ are decompressed into the block that is sent. Replies are
// handed on when all that has arrived is worked off, or a block is full.
//
// A client that sends faster than it reads is not read from until its replies have gone. What has
// arrived and can't be worked off yet is kept; it is less than one receive buffer.
import type { Address } from "../base/brand.ts";
import { EINVAL } from "../base/errno.ts";
import { ZcacheError } from "../base/errors.ts";
import type { SampledTimes } from "../base/sampled_times.ts";
import { Extent, type Zram } from "../zram/zram.ts";
import type { NbdExport } from "./exports.ts";
import { ALLOCATION_ID } from "./negotiation.ts";
import {
  Chunk,
  Command,
  CommandFlag,
  NbdError,
  PAYLOAD_BYTES_MAX,
  REQUEST_BYTES,
  State,
} from "./protocol/protocol.ts";
import {
  Request,
  setWord,
  writeChunkHeader,
  writeDataChunk,
  writeErrorChunk,
  writeSimpleReply,
} from "./protocol/transmission.ts";
import type { Link, Outbox } from "./send_queue.ts";

/** Pages that one connection touches before others of its thread have their turn: a millisecond. */
const TURN_PAGES = 512;
/** Room for the head of any reply. */
const HEAD_BYTES = 64;
const EXTENTS_MAX = 1024;
/** Bytes of one extent in a reply, and before the first. */
const EXTENT_BYTES = 8;
const STATUS_BYTES = 4;

// What a connection is doing between two requests' heads.
const NOTHING = 0;
const TAKING = 1; // the payload of a WRITE comes in
const READING = 2; // pages of a READ go out
const ZEROING = 3; // TRIM, WRITE_ZEROES
const CACHING = 4;
const REPLYING = 5; // only the reply is left, for which there was no room
const STATING = 6; // BLOCK_STATUS, likewise

/** Requests whose times are told apart. */
export const REQUEST_KINDS = ["read", "write", "other"] as const;

/** What of a handshake matters here. */
export interface Agreed {
  readonly export: NbdExport;
  readonly structured: boolean;
  readonly allocation: boolean;
}

export class Transmission {
  readonly #device: Zram;
  readonly #agreed: Agreed;
  readonly #link: Link;
  readonly #out: Outbox;
  /** The receive buffer that all connections of the thread share. */
  readonly #input: Address;
  /** A page of this connection: part of a page that has come, until the rest does. */
  readonly #held: Address;
  #heldBytes = 0;
  readonly #request = new Request();
  readonly #head = new Uint8Array(REQUEST_BYTES);
  #headBytes = 0;
  #doing = NOTHING;
  #error: number = NbdError.NONE;
  /** What is left of the range of the request. */
  #offset = 0;
  #left = 0;
  /** Where the reply begins that is being written, and the chunk of it. */
  #replyTurn = 0;
  #replyAt = 0;
  #hasHead = false;
  #pages = TURN_PAGES;
  #waitsForTurn = false;
  #stash: Uint8Array | undefined;
  #isOver = false;
  readonly #extents: number[] = [];
  readonly #times: SampledTimes | undefined;
  /** When the request began, if it is timed, else 0. */
  #begunMs = 0;

  /** @param times of requests by REQUEST_KINDS, from the head to the reply; none: not measured */
  constructor(
    agreed: Agreed,
    link: Link,
    out: Outbox,
    input: Address,
    held: Address,
    times?: SampledTimes,
  ) {
    this.#times = times;
    this.#agreed = agreed;
    this.#device = agreed.export.device;
    this.#link = link;
    this.#out = out;
    this.#input = input;
    this.#held = held;
  }

  /**
   * Takes what has arrived, at the start of the receive buffer.
   * @returns whether more may come; if not, the link is told to resume
   */
  receive(sizeBytes: number): boolean {
    if (this.#isOver) return true;
    if (!this.#waitsForTurn) this.#pages = TURN_PAGES;
    // What comes although the link was told to wait (TLS): behind what waits.
    if (this.#stash !== undefined) this.#keep(this.#input, this.#input + sizeBytes);
    else this.#workOff(sizeBytes);
    return !this.#isBlocked;
  }

  /** The link has taken all that was sent. */
  drained(): void {
    this.#out.drained();
    this.#goOn();
  }

  /** Nothing more is to be done: the connection has ended. */
  end(): void {
    this.#isOver = true;
    this.#stash = undefined;
  }

  get #isBlocked(): boolean {
    return this.#stash !== undefined || this.#doing > TAKING;
  }

  #goOn(): void {
    if (this.#isOver || this.#waitsForTurn || !this.#isBlocked) return;
    const stash = this.#stash;
    this.#stash = undefined;
    if (stash !== undefined) this.#device.bytes.set(stash, this.#input);
    this.#workOff(stash?.length ?? 0);
    if (!this.#isBlocked && !this.#isOver) this.#link.resume();
  }

  #workOff(sizeBytes: number): void {
    const end = this.#input + sizeBytes;
    const at = this.#run(this.#input, end);
    if (at < end && !this.#isOver) this.#keep(at, end);
    this.#out.flush();
    if (this.#isOver) this.#link.close();
  }

  #keep(at: number, end: number): void {
    const rest = this.#device.bytes.subarray(at, end);
    const before = this.#stash;
    this.#stash = new Uint8Array((before?.length ?? 0) + rest.length);
    if (before !== undefined) this.#stash.set(before);
    this.#stash.set(rest, before?.length ?? 0);
  }

  /** Works off what lies in [at, end). @returns how far it has come */
  #run(start: number, end: number): number {
    let at = start;
    for (;;) {
      if (this.#isOver) return at;
      if (this.#doing === TAKING) {
        at = this.#takePayload(at, end);
        if (this.#left > 0) return at;
        this.#doing = REPLYING;
      } else if (this.#doing !== NOTHING) {
        if (!this.#proceed()) return at;
        this.#doing = NOTHING;
        if (this.#begunMs !== 0) this.#times!.end(kindOf(this.#request.command), this.#begunMs);
      } else {
        at = this.#takeHead(at, end);
        if (this.#headBytes < REQUEST_BYTES) return at;
        if (!this.#request.parse(this.#head, 0)) {
          this.#isOver = true;
          return at;
        }
        this.#headBytes = 0;
        this.#begunMs = this.#times?.begin() ?? 0;
        this.#begin();
      }
    }
  }

  #takeHead(at: number, end: number): number {
    const { bytes } = this.#device;
    const size = Math.min(REQUEST_BYTES - this.#headBytes, end - at);
    for (let i = 0; i < size; i++) this.#head[this.#headBytes + i] = bytes[at + i]!;
    this.#headBytes += size;
    return at + size;
  }

  #begin(): void {
    const { command, offset, lengthBytes } = this.#request;
    this.#error = this.#objection();
    this.#offset = offset;
    this.#left = lengthBytes;
    this.#hasHead = false;
    // The payload comes, whatever is wrong with the request.
    if (command === Command.WRITE) this.#doing = TAKING;
    else if (this.#error !== NbdError.NONE || command === Command.FLUSH) this.#doing = REPLYING;
    else if (command === Command.READ) this.#doing = READING;
    else if (command === Command.BLOCK_STATUS) this.#doing = STATING;
    else if (command === Command.CACHE) this.#doing = CACHING;
    else if (command === Command.DISC) this.#isOver = true;
    else this.#doing = ZEROING;
  }

  /** What is wrong with the request, as an error of the protocol; NONE if nothing is. */
  #objection(): number {
    const { command, flags, offset, lengthBytes } = this.#request;
    const { structured, allocation } = this.#agreed;
    const allowed = allowedFlags(command, structured, allocation);
    if (allowed < 0 || (flags & ~allowed) !== 0) return NbdError.EINVAL;
    if (command === Command.DISC) return NbdError.NONE;
    if (command === Command.FLUSH) {
      return offset === 0 && lengthBytes === 0 ? NbdError.NONE : NbdError.EINVAL;
    }
    const stores = command === Command.WRITE || command === Command.WRITE_ZEROES;
    if (this.#agreed.export.readOnly && (stores || command === Command.TRIM)) return NbdError.EPERM;
    if (lengthBytes === 0) return NbdError.EINVAL;
    const carries = command === Command.WRITE || command === Command.READ;
    if (carries && lengthBytes > PAYLOAD_BYTES_MAX) return NbdError.EINVAL;
    if (this.#device.holds(offset, lengthBytes)) return NbdError.NONE;
    return stores ? NbdError.ENOSPC : NbdError.EINVAL;
  }

  /** Takes the payload of a WRITE, page by page. @returns how far it has come */
  #takePayload(start: number, end: number): number {
    let at = start;
    const { pageSize } = this.#device;
    while (this.#left > 0 && at < end) {
      if (this.#error !== NbdError.NONE) {
        const size = Math.min(this.#left, end - at);
        this.#left -= size;
        return at + size;
      }
      const piece = Math.min(pageSize - (this.#offset % pageSize), this.#left);
      if (this.#heldBytes > 0 || end - at < piece) {
        const size = Math.min(piece - this.#heldBytes, end - at);
        this.#device.bytes.copyWithin(this.#held + this.#heldBytes, at, at + size);
        this.#heldBytes += size;
        at += size;
        if (this.#heldBytes < piece) return at;
        this.#heldBytes = 0;
        this.#store(piece, this.#held);
      } else {
        // As many pages at once as are there.
        const more = Math.min(this.#left, end - at) - piece;
        const whole = piece + (more < this.#left - piece ? more - (more % pageSize) : more);
        this.#store(whole, at as Address);
        at += whole;
      }
    }
    return at;
  }

  #store(sizeBytes: number, source: Address): void {
    this.#pages -= sizeBytes / this.#device.pageSize;
    try {
      const result = this.#device.writeFrom(this.#offset, sizeBytes, source);
      if (result !== 0) this.#error = NbdError.ENOSPC;
    } catch (error) {
      this.#error = ioError(error);
    }
    this.#offset += sizeBytes;
    this.#left -= sizeBytes;
  }

  /** Goes on with what is being done. @returns whether it is finished */
  #proceed(): boolean {
    if (this.#pages <= 0) {
      this.#waitForTurn();
      return false;
    }
    switch (this.#doing) {
      case READING:
        return this.#read();
      case ZEROING:
        if (!this.#zero()) return false;
        break;
      case CACHING:
        if (!this.#cache()) return false;
        break;
      case STATING:
        return this.#status();
    }
    this.#doing = REPLYING;
    return this.#reply();
  }

  #waitForTurn(): void {
    this.#waitsForTurn = true;
    setImmediate(() => {
      this.#waitsForTurn = false;
      this.#pages = TURN_PAGES;
      try {
        this.#goOn();
      } catch (error) {
        this.#link.fail(error);
      }
    });
  }

  /** Writes a reply without data. @returns false if there is no room for it yet */
  #reply(): boolean {
    const out = this.#out;
    if (!out.room(HEAD_BYTES)) return false;
    const { bytes } = this.#device;
    const { command } = this.#request;
    const isChunk =
      this.#agreed.structured && (command === Command.READ || command === Command.BLOCK_STATUS);
    out.advance(
      isChunk
        ? writeErrorChunk(bytes, out.address, this.#request, this.#error)
        : writeSimpleReply(bytes, out.address, this.#request, this.#error),
    );
    return true;
  }

  /**
   * Sends what is left of a READ. Where a page may turn out to be unreadable, a structured reply
   * goes out in chunks of what is read already; else its head promises all, and who is told of an
   * error too late to take it back loses the connection, as the protocol has it.
   */
  #read(): boolean {
    const out = this.#out;
    const { pageSize, mayFail } = this.#device;
    const { structured } = this.#agreed;
    const inChunks = structured && mayFail && (this.#request.flags & CommandFlag.DF) === 0;
    while (this.#left > 0) {
      if (this.#pages <= 0) {
        this.#waitForTurn();
        return false;
      }
      const piece = Math.min(pageSize - (this.#offset % pageSize), this.#left);
      const headBytes = this.#hasHead && !inChunks ? 0 : HEAD_BYTES;
      if (!out.room(piece + headBytes)) return false;
      const more = Math.min(this.#left, out.left - headBytes) - piece;
      const size = piece + (more < this.#left - piece ? more - (more % pageSize) : more);
      if (!this.#hasHead || inChunks) this.#writeReadHead(inChunks ? size : this.#left, inChunks);
      if (!this.#readPiece(size, inChunks)) return true;
    }
    return true;
  }

  #writeReadHead(sizeBytes: number, inChunks: boolean): void {
    const out = this.#out;
    const { bytes } = this.#device;
    this.#replyTurn = out.turn;
    this.#replyAt = out.used;
    this.#hasHead = true;
    if (this.#agreed.structured) {
      const isLast = !inChunks || sizeBytes === this.#left;
      const at = out.address;
      out.advance(writeDataChunk(bytes, at, this.#request, isLast, this.#offset, sizeBytes));
    } else out.advance(writeSimpleReply(bytes, out.address, this.#request, NbdError.NONE));
  }

  /** @returns false if the reply has ended with an error */
  #readPiece(sizeBytes: number, inChunks: boolean): boolean {
    const out = this.#out;
    try {
      const result = this.#device.readTo(this.#offset, sizeBytes, out.address);
      if (result === EINVAL) throw new ZcacheError("ERR_IO", "the device has become smaller");
    } catch (error) {
      this.#error = ioError(error);
      if (!inChunks && this.#replyTurn !== out.turn) {
        this.#isOver = true;
        return false;
      }
      out.cutTo(this.#replyAt);
      this.#reply();
      return false;
    }
    out.advance(sizeBytes);
    this.#pages -= sizeBytes / this.#device.pageSize;
    this.#offset += sizeBytes;
    this.#left -= sizeBytes;
    return true;
  }

  /** TRIM and WRITE_ZEROES, a turn's worth. @returns whether all is done */
  #zero(): boolean {
    const { command, flags } = this.#request;
    const allocate = command === Command.WRITE_ZEROES && (flags & CommandFlag.NO_HOLE) !== 0;
    while (this.#left > 0) {
      if (this.#pages <= 0) {
        this.#waitForTurn();
        return false;
      }
      const pages = Math.ceil(this.#pages);
      let done: number;
      try {
        done = this.#device.zeroSome(this.#offset, this.#left, allocate, pages);
      } catch (error) {
        this.#error = ioError(error);
        return true;
      }
      if (done < 0) {
        this.#error = NbdError.ENOSPC;
        return true;
      }
      this.#offset += done;
      this.#left -= done;
      if (this.#left > 0) this.#pages = 0;
    }
    return true;
  }

  #cache(): boolean {
    const { pageSize, mayFail } = this.#device;
    while (mayFail && this.#left > 0) {
      if (this.#pages <= 0) {
        this.#waitForTurn();
        return false;
      }
      const size = Math.min(pageSize - (this.#offset % pageSize), this.#left);
      try {
        this.#device.prefetch(this.#offset, size);
      } catch (error) {
        this.#error = ioError(error);
        return true;
      }
      this.#pages--;
      this.#offset += size;
      this.#left -= size;
    }
    return true;
  }

  #status(): boolean {
    const out = this.#out;
    const { bytes } = this.#device;
    const count = this.#device.blockStatus(this.#offset, this.#left, this.#extents, TURN_PAGES);
    const wanted = (this.#request.flags & CommandFlag.REQ_ONE) !== 0 ? 1 : count;
    const most = Math.min(wanted, EXTENTS_MAX);
    const size = STATUS_BYTES + most * EXTENT_BYTES;
    if (!out.room(HEAD_BYTES + size)) return false;
    this.#pages -= TURN_PAGES / 4;
    let at: number = out.address;
    at += writeChunkHeader(bytes, at, this.#request, Chunk.BLOCK_STATUS, true, size);
    at += setWord(bytes, at, ALLOCATION_ID);
    for (let nth = 0; nth < most; nth++) {
      at += setWord(bytes, at, this.#extents[nth * 2]!);
      at += setWord(bytes, at, stateOf(this.#extents[nth * 2 + 1]!));
    }
    out.advance(at - out.address);
    return true;
  }
}

/** Flags that a command may have, or −1 for one that nobody has offered. */
function allowedFlags(command: number, structured: boolean, allocation: boolean): number {
  switch (command) {
    case Command.READ:
      return CommandFlag.FUA | (structured ? CommandFlag.DF : 0);
    case Command.WRITE_ZEROES:
      return CommandFlag.FUA | CommandFlag.NO_HOLE | CommandFlag.FAST_ZERO;
    case Command.BLOCK_STATUS:
      return allocation ? CommandFlag.FUA | CommandFlag.REQ_ONE : -1;
    case Command.WRITE:
    case Command.FLUSH:
    case Command.TRIM:
    case Command.CACHE:
    case Command.DISC:
      return CommandFlag.FUA;
    default:
      return -1;
  }
}

function stateOf(extent: number): number {
  if (extent === Extent.HOLE) return State.HOLE | State.ZERO;
  return extent === Extent.ZERO ? State.ZERO : 0;
}

/** The place in REQUEST_KINDS. */
function kindOf(command: number): number {
  return command === Command.READ ? 0 : command === Command.WRITE ? 1 : 2;
}

/** What the protocol calls a failure of the outside world; a bug goes its own way. */
function ioError(error: unknown): number {
  if (error instanceof ZcacheError) return NbdError.EIO;
  throw error;
}
