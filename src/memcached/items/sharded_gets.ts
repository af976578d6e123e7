// Plain gets where keys are in several shards. The kernel of a shard (../plain_gets.as.ts) sees the
// memory of that shard only: so it is asked for one key at a time, and its answer is copied to the
// reply buffer, which is in the memory of the first shard. A list of keys is cut into a line for
// each key; the answers are joined by leaving out END but for the last. Where the kernel does not
// answer a key of a list, the commands go on from there.
//
// Nothing is allocated for a key but a view of an answer that is copied.
import { shardOfHash } from "../../shard/route.ts";
import type { Finder } from "../../values/finder.ts";
import type { Values } from "../../values/values.ts";
import { KEY_BYTES_MAX, LINE_BYTES_MAX, NEWLINE, RETURN, SPACE } from "../protocol/text.ts";
import type { ItemHash } from "./shards.ts";

/** A buffer of replies, filled up to `at`. */
export interface AnswerBuffer {
  readonly bytes: Uint8Array;
  at: number;
}

const LETTER_G = 103;
const LETTER_M = 109;
const LETTER_N = 110;
const LETTER_S = 115;
const GET_BYTES = "get ".length;
const MG_BYTES = "mg ".length;
const MN_BYTES = "mn\r\n".length;
const END_BYTES = "END\r\n".length;
/** The longest line for one key. */
const LINE_BYTES = "gets ".length + KEY_BYTES_MAX + "\r\n".length;
/** Below this a copy byte by byte is quicker than a call. */
const COPY_BYTES_MIN = 32;
/** V8 copies faster where source and target are at the same distance from a multiple of this. */
const ALIGNMENT = 8;

export class ShardedGets {
  /** Items that the last `answer` has found. */
  hits = 0;
  /** The verb of a list of keys that the last `answer` has answered in part: up to its end. */
  openList: "" | "get" | "gets" = "";
  readonly #values: readonly Values[];
  readonly #hash: ItemHash;
  readonly #finders: readonly Finder[];
  /** Address of the reply buffer, in the first shard. */
  readonly #replyAt: number;
  /** Of each other shard, the address of its answers, and the room for them. */
  readonly #answersAt: readonly number[];
  readonly #answerBytes: number;
  readonly #key = new Uint8Array(KEY_BYTES_MAX);
  readonly #line = new Uint8Array(LINE_BYTES);

  /**
   * @param finders of each shard  @param replyAt address of the reply buffer in the first shard
   * @throws ZcacheError if there is no room
   */
  constructor(
    values: readonly Values[],
    hash: ItemHash,
    finders: readonly Finder[],
    replyAt: number,
  ) {
    this.#values = values;
    this.#hash = hash;
    this.#finders = finders;
    this.#replyAt = replyAt;
    // A value that the kernel finds is in one page; beside it there are its key and some numbers.
    this.#answerBytes = 2 * values[0]!.bufferBytes;
    this.#answersAt = values.map(({ store }, shard) =>
      shard === 0 ? 0 : store.reserve(this.#answerBytes),
    );
  }

  /** To be called before `answer`, as the fields of a finder are set. */
  begin(now: number, flushes: number): void {
    for (const finder of this.#finders) {
      finder.now = now;
      finder.flushes = flushes;
    }
    this.hits = 0;
    this.openList = "";
  }

  /** As `ItemAccess.answerLines`. @param target its bytes are the reply buffer */
  answer(lines: Uint8Array, from: number, to: number, target: AnswerBuffer): number {
    let at = from;
    while (at < to && this.openList === "") {
      const end = this.#answerLine(lines, at, to, target);
      if (end === 0) break;
      at = end;
    }
    return at - from;
  }

  /** @returns where the next line begins; 0: the line at `at` is not answered */
  #answerLine(lines: Uint8Array, at: number, to: number, target: AnswerBuffer): number {
    const isMeta = lines[at] === LETTER_M;
    if (isMeta && lines[at + 1] === LETTER_N) {
      const end = at + MN_BYTES;
      return end <= to && this.#ask(0, lines, at, end, target) ? end : 0;
    }
    if (!isMeta && lines[at] !== LETTER_G) return 0;
    const keyAt = keysBegin(lines, at, isMeta);
    const keyEnd = tokenEnd(lines, keyAt, to);
    const shard = this.#shardOf(lines, keyAt, keyEnd, to);
    if (shard < 0) return 0;
    if (!isMeta && lines[keyEnd] === SPACE) return this.#answerList(lines, at, keyAt, to, target);
    let end = keyEnd;
    while (end < to && lines[end] !== NEWLINE) end++;
    if (end === to || !this.#ask(shard, lines, at, end + 1, target)) return 0;
    return end + 1;
  }

  /**
   * Answers a list of keys, the first of which is at `first`.
   * @returns as `#answerLine`; or, with `openList`, where the keys begin that are not answered
   */
  #answerList(
    lines: Uint8Array,
    at: number,
    first: number,
    to: number,
    target: AnswerBuffer,
  ): number {
    // The commands refuse a list as a whole.
    if (!isGoodList(lines, at, first, to)) return 0;
    const verbBytes = first - at;
    for (let i = 0; i < verbBytes; i++) this.#line[i] = lines[at + i]!;
    let keyAt = first;
    for (;;) {
      const keyEnd = tokenEnd(lines, keyAt, to);
      const isLast = lines[keyEnd] === RETURN && lines[keyEnd + 1] === NEWLINE;
      if (!isLast && lines[keyEnd] !== SPACE) break;
      const shard = this.#shardOf(lines, keyAt, keyEnd, to);
      if (shard < 0 || !this.#askKey(shard, verbBytes, keyEnd - keyAt, target)) break;
      if (isLast) return keyEnd + 2;
      target.at -= END_BYTES;
      keyAt = keyEnd + 1;
    }
    if (keyAt === first) return 0;
    this.openList = verbBytes === GET_BYTES ? "get" : "gets";
    return keyAt;
  }

  /** Asks for the key that `#shardOf` has read. */
  #askKey(shard: number, verbBytes: number, keyBytes: number, target: AnswerBuffer): boolean {
    const line = this.#line;
    for (let i = 0; i < keyBytes; i++) line[verbBytes + i] = this.#key[i]!;
    const end = verbBytes + keyBytes;
    line[end] = RETURN;
    line[end + 1] = NEWLINE;
    return this.#ask(shard, line, 0, end + 2, target);
  }

  /** @returns whether the kernel of the shard has answered the line at [from, to) */
  #ask(shard: number, lines: Uint8Array, from: number, to: number, target: AnswerBuffer): boolean {
    const finder = this.#finders[shard]!;
    const { at, bytes } = target;
    const replyAt = this.#replyAt + at;
    const room = bytes.length - at;
    if (shard === 0) {
      finder.out = replyAt;
      finder.outEnd = replyAt + room;
      if (finder.answerGets(lines, from, to) === 0) return false;
      target.at = finder.out - this.#replyAt;
    } else {
      const answersAt = this.#answersAt[shard]!;
      const out = answersAt + (replyAt % ALIGNMENT);
      finder.out = out;
      finder.outEnd = Math.min(answersAt + this.#answerBytes, out + room);
      if (finder.answerGets(lines, from, to) === 0) return false;
      copy(this.#values[shard]!.bytes, out, finder.out, bytes, at);
      target.at = at + finder.out - out;
    }
    this.hits += finder.found;
    return true;
  }

  /** Reads the key at [from, to). @returns its shard; −1 if it may go on, or is no key */
  #shardOf(lines: Uint8Array, from: number, to: number, linesEnd: number): number {
    const keyBytes = to - from;
    if (to >= linesEnd || keyBytes === 0 || keyBytes > KEY_BYTES_MAX) return -1;
    for (let i = 0; i < keyBytes; i++) this.#key[i] = lines[from + i]!;
    const hash = this.#hash;
    hash.set(this.#key, keyBytes);
    return shardOfHash(hash.low, hash.high, this.#values.length);
  }
}

/** Where the keys of a line begin that is `get`, `gets` or `mg`; the kernel looks closer. */
function keysBegin(lines: Uint8Array, at: number, isMeta: boolean): number {
  if (isMeta) return at + MG_BYTES;
  return at + GET_BYTES + (lines[at + GET_BYTES - 1] === LETTER_S ? 1 : 0);
}

/** Whether a line is a list of keys that has been received as a whole, and no key is too long. */
function isGoodList(lines: Uint8Array, from: number, first: number, to: number): boolean {
  const end = Math.min(to, from + LINE_BYTES_MAX);
  let keyAt = first;
  for (let at = first; at < end; at++) {
    const isEnd = lines[at] === NEWLINE;
    if (!isEnd && lines[at] !== SPACE) continue;
    if (at - keyAt > KEY_BYTES_MAX) return false;
    if (isEnd) return true;
    keyAt = at + 1;
  }
  return false;
}

function tokenEnd(lines: Uint8Array, from: number, to: number): number {
  let at = from;
  while (at < to && lines[at]! > SPACE) at++;
  return at;
}

function copy(from: Uint8Array, at: number, end: number, to: Uint8Array, toAt: number): void {
  if (end - at < COPY_BYTES_MIN) for (let i = at; i < end; i++) to[toAt + i - at] = from[i]!;
  else to.set(from.subarray(at, end), toAt);
}
