// The transmission phase of one connection: requests in, replies out, pages in between.
//
// Received bytes are processed where they lie, in the thread's receive buffer. The pages of a WRITE
// are compressed from there as they come, so a request of 32 MiB needs no more memory than one of
// 4 KiB. The pages of a READ are decompressed into the block that is sent. A block is sent when it
// is full, or when all received bytes are processed.
//
// A client that sends faster than it reads is not read from until its replies have been taken.
// Bytes that were received and can't be processed yet are kept: less than one receive buffer.
import type { Address } from "../base/brand.ts";
import { EINVAL } from "../base/errno.ts";
import { ZcacheError } from "../base/errors.ts";
import type { SampledTimes } from "../base/sampled_times.ts";
import { Extent, type Zram } from "../zram/zram.ts";
import { ALLOCATION_ID } from "./negotiation.ts";
import {
  Chunk,
  Command,
  CommandFlag,
  NbdError,
  REQUEST_BYTES,
  State,
} from "./protocol/protocol.ts";
import {
  Request,
  setOffset,
  setWord,
  writeChunkHeader,
  writeErrorChunk,
  writeSimpleReply,
} from "./protocol/transmission.ts";
import { isRemote, RemotePages } from "./remote_pages.ts";
import { type Agreed, kindOf, requestError } from "./request_check.ts";
import type { Link, SendQueue } from "./send_queue.ts";

/** Pages that a connection touches in one turn, before other connections of its thread: 1 ms. */
const TURN_PAGES = 512;
/** Bytes that the head of any reply fits into. */
const HEAD_BYTES = 64;
const EXTENTS_MAX = 1024;
/** Bytes of the offset before the data of a structured READ. */
const OFFSET_BYTES = 8;
/** Bytes of one extent in a reply to BLOCK_STATUS, and of the context's number before the first. */
const EXTENT_BYTES = 8;
const CONTEXT_BYTES = 4;

// What an attempt to read a piece comes to.
const READ = 0;
const ENDED = 1;
const REMOTE = 2;

// States of a connection; from RECEIVING on, a request is in progress.
const IDLE = 0;
const RECEIVING = 1; // the payload of a WRITE
const READING = 2; // READ
const ZEROING = 3; // TRIM, WRITE_ZEROES
const CACHING = 4; // CACHE
const REPLYING = 5; // a reply without data, which waits for room
const STATUS = 6; // BLOCK_STATUS

/** What the transmission of one connection works with. */
export interface TransmissionParts {
  readonly agreed: Agreed;
  readonly link: Link;
  readonly queue: SendQueue;
  /** The receive buffer that all connections of the thread share. */
  readonly input: Address;
  /** Room for one page. */
  readonly held: Address;
  /** Times by REQUEST_KINDS, from a request's head to its reply; undefined: not measured. */
  readonly times: SampledTimes | undefined;
}

export class Transmission {
  readonly #device: Zram;
  readonly #agreed: Agreed;
  readonly #link: Link;
  readonly #queue: SendQueue;
  readonly #input: Address;
  /** Holds the part of a page that was received, until the rest is. */
  readonly #held: Address;
  #heldBytes = 0;
  readonly #request = new Request();
  readonly #head = new Uint8Array(REQUEST_BYTES);
  #headBytes = 0;
  #state = IDLE;
  #error: number = NbdError.NONE;
  /** The rest of the request's range. */
  #offset = 0;
  #left = 0;
  /** Where the head of the reply, or of its current chunk, was written: to take it back. */
  #replyTurn = 0;
  #replyAt = 0;
  #hasHead = false;
  #pages = TURN_PAGES;
  #waitsForTurn = false;
  #unprocessed: Uint8Array | undefined;
  readonly #remote: RemotePages;
  /** Whether the piece in `held` is complete, but could not be stored yet. */
  #isHeld = false;
  #isOver = false;
  readonly #extents: number[] = [];
  readonly #times: SampledTimes | undefined;
  /** When the request began; 0 if it is not timed. */
  #begunMs = 0;

  constructor({ agreed, link, queue, input, held, times }: TransmissionParts) {
    this.#agreed = agreed;
    this.#device = agreed.export.device;
    this.#link = link;
    this.#queue = queue;
    this.#input = input;
    this.#held = held;
    this.#times = times;
    this.#remote = new RemotePages(this.#device, (error) => this.#goOn(error));
  }

  /**
   * Processes bytes at the start of the receive buffer.
   * @returns whether the link may read on; if not, its `resume` is called later
   */
  receive(sizeBytes: number): boolean {
    if (this.#isOver) return true;
    if (!this.#waitsForTurn) this.#pages = TURN_PAGES;
    // TLS may deliver bytes although the link was told to wait.
    if (this.#unprocessed !== undefined) this.#keep(this.#input, this.#input + sizeBytes);
    else this.#process(sizeBytes);
    return !this.#isBlocked;
  }

  /** The link has sent everything. */
  drained(): void {
    this.#queue.drained();
    this.#resume();
  }

  /** The connection has ended. */
  end(): void {
    this.#isOver = true;
    this.#unprocessed = undefined;
  }

  get #isBlocked(): boolean {
    if (this.#remote.isWaiting) return true;
    return this.#unprocessed !== undefined || this.#state > RECEIVING;
  }

  #resume(): void {
    const waits = this.#waitsForTurn || this.#remote.isWaiting;
    if (this.#isOver || waits || !this.#isBlocked) return;
    this.#resumeNow();
  }

  /** The wait for the remote tier is over. */
  #goOn(error: unknown): void {
    if (this.#isOver) return;
    try {
      if (error !== undefined) this.#error = ioError(error);
      if (!this.#waitsForTurn) this.#resumeNow();
    } catch (cause) {
      this.#link.fail(cause);
    }
  }

  #resumeNow(): void {
    const stash = this.#unprocessed;
    this.#unprocessed = undefined;
    if (stash !== undefined) this.#device.bytes.set(stash, this.#input);
    this.#process(stash?.length ?? 0);
    if (!this.#isBlocked && !this.#isOver) this.#link.resume();
  }

  #process(sizeBytes: number): void {
    const end = this.#input + sizeBytes;
    const at = this.#run(this.#input, end);
    if (at < end && !this.#isOver) this.#keep(at, end);
    this.#queue.flush();
    if (this.#isOver) this.#link.close();
  }

  #keep(at: number, end: number): void {
    const rest = this.#device.bytes.subarray(at, end);
    const before = this.#unprocessed;
    this.#unprocessed = new Uint8Array((before?.length ?? 0) + rest.length);
    if (before !== undefined) this.#unprocessed.set(before);
    this.#unprocessed.set(rest, before?.length ?? 0);
  }

  /** Processes bytes of [start, end). @returns the end of the processed bytes */
  #run(start: number, end: number): number {
    let at = start;
    for (;;) {
      if (this.#isOver || this.#remote.isWaiting) return at;
      if (this.#state === RECEIVING) {
        at = this.#receivePayload(at, end);
        if (this.#left > 0) return at;
        this.#state = REPLYING;
      } else if (this.#state !== IDLE) {
        if (!this.#continue()) return at;
        this.#state = IDLE;
        if (this.#begunMs !== 0) this.#times!.end(kindOf(this.#request.command), this.#begunMs);
      } else {
        at = this.#receiveHead(at, end);
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

  #receiveHead(at: number, end: number): number {
    const { bytes } = this.#device;
    const size = Math.min(REQUEST_BYTES - this.#headBytes, end - at);
    for (let i = 0; i < size; i++) this.#head[this.#headBytes + i] = bytes[at + i]!;
    this.#headBytes += size;
    return at + size;
  }

  #begin(): void {
    const { command, offset, lengthBytes } = this.#request;
    this.#error = requestError(this.#request, this.#agreed);
    this.#offset = offset;
    this.#left = lengthBytes;
    this.#hasHead = false;
    this.#remote.begin();
    // The client sends the payload in any case.
    if (command === Command.WRITE) this.#state = RECEIVING;
    else if (this.#error !== NbdError.NONE || command === Command.FLUSH) this.#state = REPLYING;
    else if (command === Command.READ) this.#state = READING;
    else if (command === Command.BLOCK_STATUS) this.#state = STATUS;
    else if (command === Command.CACHE) this.#state = CACHING;
    else if (command === Command.DISC) this.#isOver = true;
    else this.#state = ZEROING;
  }

  /** Stores the payload of a WRITE, page by page. @returns the end of the processed bytes */
  #receivePayload(start: number, end: number): number {
    let at = start;
    const { pageSize } = this.#device;
    while (this.#left > 0 && (at < end || this.#isHeld)) {
      if (this.#error !== NbdError.NONE) {
        // What is held was received.
        this.#left -= this.#heldBytes;
        this.#heldBytes = 0;
        this.#isHeld = false;
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
        this.#isHeld = !this.#store(piece, this.#held);
        if (this.#isHeld) return at;
        this.#heldBytes = 0;
      } else {
        // All whole pages that were received.
        const more = Math.min(this.#left, end - at) - piece;
        const whole = piece + (more < this.#left - piece ? more - (more % pageSize) : more);
        if (!this.#store(whole, at as Address)) return at;
        at += whole;
      }
    }
    return at;
  }

  /** @returns false: the request waits, and the same bytes are to be stored again */
  #store(sizeBytes: number, source: Address): boolean {
    this.#pages -= sizeBytes / this.#device.pageSize;
    try {
      const result = this.#device.writeFrom(this.#offset, sizeBytes, source);
      if (result !== 0 && this.#remote.awaitRoom()) return false;
      if (result !== 0) this.#error = NbdError.ENOSPC;
    } catch (error) {
      if (this.#remote.bringBackEnds(error, this.#offset, sizeBytes)) return false;
      this.#error = ioError(error);
    }
    this.#remote.stored();
    this.#offset += sizeBytes;
    this.#left -= sizeBytes;
    return true;
  }

  /** Continues the request in progress. @returns whether it is done */
  #continue(): boolean {
    if (this.#pages <= 0) {
      this.#waitForTurn();
      return false;
    }
    switch (this.#state) {
      case READING:
        return this.#read();
      case ZEROING:
        if (!this.#zero()) return false;
        break;
      case CACHING:
        if (!this.#cache()) return false;
        break;
      case STATUS:
        return this.#status();
    }
    this.#state = REPLYING;
    return this.#reply();
  }

  #waitForTurn(): void {
    this.#waitsForTurn = true;
    setImmediate(() => {
      this.#waitsForTurn = false;
      this.#pages = TURN_PAGES;
      try {
        this.#resume();
      } catch (error) {
        this.#link.fail(error);
      }
    });
  }

  /** Writes a reply without data. @returns false if the queue has no room yet */
  #reply(): boolean {
    const queue = this.#queue;
    if (!queue.room(HEAD_BYTES)) return false;
    const { bytes } = this.#device;
    const { command } = this.#request;
    const isChunk =
      this.#agreed.structured && (command === Command.READ || command === Command.BLOCK_STATUS);
    queue.advance(
      isChunk
        ? writeErrorChunk(bytes, queue.address, this.#request, this.#error)
        : writeSimpleReply(bytes, queue.address, this.#request, this.#error),
    );
    return true;
  }

  /**
   * Sends the rest of a READ. On a device that may fail, a structured reply has a chunk for each
   * piece that was read. Any other reply begins with a head that promises all bytes; an error after
   * that head was sent ends the connection, as the protocol demands.
   */
  #read(): boolean {
    const queue = this.#queue;
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
      if (!queue.room(piece + headBytes)) return false;
      const more = Math.min(this.#left, queue.left - headBytes) - piece;
      const size = piece + (more < this.#left - piece ? more - (more % pageSize) : more);
      const hadHead = this.#hasHead;
      const writesHead = !hadHead || inChunks;
      if (writesHead) this.#writeReadHead(inChunks ? size : this.#left, inChunks);
      const result = this.#readPiece(size, inChunks);
      if (result === ENDED) return true;
      if (result === REMOTE) {
        if (writesHead) queue.cutTo(this.#replyAt);
        this.#hasHead = hadHead;
        this.#remote.fetch(this.#offset, size, this.#left);
        return false;
      }
    }
    return true;
  }

  #writeReadHead(sizeBytes: number, inChunks: boolean): void {
    const queue = this.#queue;
    const { bytes } = this.#device;
    this.#replyTurn = queue.turn;
    this.#replyAt = queue.used;
    this.#hasHead = true;
    if (this.#agreed.structured) {
      const isLast = !inChunks || sizeBytes === this.#left;
      const type = isLast ? Chunk.OFFSET_DATA | Chunk.DONE : Chunk.OFFSET_DATA;
      const at = queue.address;
      const body = at + writeChunkHeader(bytes, at, this.#request, type, OFFSET_BYTES + sizeBytes);
      queue.advance(body + setOffset(bytes, body, this.#offset) - at);
    } else queue.advance(writeSimpleReply(bytes, queue.address, this.#request, NbdError.NONE));
  }

  /** @returns READ; ENDED: with an error; REMOTE: a page is in the remote tier */
  #readPiece(sizeBytes: number, inChunks: boolean): number {
    const queue = this.#queue;
    try {
      if (this.#error !== NbdError.NONE) throw new ZcacheError("ERR_REMOTE", "no answer in time");
      const result = this.#remote.readTo(this.#offset, sizeBytes, queue.address);
      if (result === EINVAL) throw new ZcacheError("ERR_IO", "the device has become smaller");
    } catch (error) {
      if (this.#error === NbdError.NONE && isRemote(error)) return REMOTE;
      this.#error = ioError(error);
      if (!inChunks && this.#replyTurn !== queue.turn) {
        this.#isOver = true;
        return ENDED;
      }
      queue.cutTo(this.#replyAt);
      this.#reply();
      return ENDED;
    }
    queue.advance(sizeBytes);
    this.#pages -= sizeBytes / this.#device.pageSize;
    this.#offset += sizeBytes;
    this.#left -= sizeBytes;
    return READ;
  }

  /** TRIM and WRITE_ZEROES, for one turn. @returns whether the range is done */
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
        if (this.#remote.bringBackEnds(error, this.#offset, this.#left)) return false;
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
        if (this.#remote.bringBack(error, this.#offset, size)) return false;
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
    const queue = this.#queue;
    const { bytes } = this.#device;
    const count = this.#device.blockStatus(this.#offset, this.#left, this.#extents, TURN_PAGES);
    const wanted = (this.#request.flags & CommandFlag.REQ_ONE) !== 0 ? 1 : count;
    const most = Math.min(wanted, EXTENTS_MAX);
    const size = CONTEXT_BYTES + most * EXTENT_BYTES;
    if (!queue.room(HEAD_BYTES + size)) return false;
    this.#pages -= TURN_PAGES / 4;
    let at: number = queue.address;
    at += writeChunkHeader(bytes, at, this.#request, Chunk.BLOCK_STATUS | Chunk.DONE, size);
    at += setWord(bytes, at, ALLOCATION_ID);
    for (let nth = 0; nth < most; nth++) {
      at += setWord(bytes, at, this.#extents[nth * 2]!);
      at += setWord(bytes, at, stateOf(this.#extents[nth * 2 + 1]!));
    }
    queue.advance(at - queue.address);
    return true;
  }
}

function stateOf(extent: number): number {
  if (extent === Extent.HOLE) return State.HOLE | State.ZERO;
  return extent === Extent.ZERO ? State.ZERO : 0;
}

/** The protocol's error for a failure of the outside world. @throws a bug, as it is */
function ioError(error: unknown): number {
  if (error instanceof ZcacheError) return NbdError.EIO;
  throw error;
}
