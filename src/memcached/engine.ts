// One thread's work on commands: bytes of a connection go in, replies come out, items change in
// between. It knows no sockets; tests feed it from arrays.

import { assert } from "../base/errors.ts";
import { BinaryProtocol } from "./commands/binary/protocol.ts";
import type { CommandParts, Turn } from "./commands/contract.ts";
import { TextProtocol } from "./commands/text/protocol.ts";
import { REQUEST } from "./protocol/binary.ts";
import { LINE_BYTES_MAX } from "./protocol/text.ts";
import { BINARY, type Session, TEXT, UNDECIDED } from "./session.ts";

/** What a command with a value takes besides an item's bytes: its line, or a password. */
const COMMAND_BYTES_MAX = 2 * LINE_BYTES_MAX;

/**
 * Work is counted in units, one for each byte of a reply or of a value that is stored; a command by
 * itself takes as long as this many bytes.
 */
const COMMAND_UNITS = 128;
/**
 * After so much of it others have their turn: 64 KiB of short requests for long values would take
 * milliseconds.
 */
const TURN_UNITS_MAX = 131_072;

export class Engine implements Turn {
  readonly parts: CommandParts;
  /** The client takes no more replies for now, or others have their turn. */
  paused = false;
  #units = 0;
  readonly #text: TextProtocol;
  readonly #binary: BinaryProtocol;

  constructor(parts: CommandParts) {
    this.parts = parts;
    this.#text = new TextProtocol(this, parts);
    this.#binary = new BinaryProtocol(this, parts);
  }

  /**
   * Does the commands that stand at [from, to), as far as they are complete and replies are taken.
   * @returns where it stopped; `session.need` says how much a command takes that has begun there
   */
  feed(session: Session, bytes: Uint8Array, from: number, to: number): number {
    const { items } = this.parts;
    let at = from;
    session.need = 0;
    this.#goOn(session);
    while (at < to && !session.closing && !this.paused && session.longReply === undefined) {
      if (session.swallow > 0) {
        const passed = Math.min(session.swallow, to - at);
        session.swallow -= passed;
        at += passed;
        continue;
      }
      if (session.protocol === UNDECIDED) this.#decide(session, bytes[at]!);
      const protocol = session.protocol === BINARY ? this.#binary : this.#text;
      const used = protocol.execute(session, bytes, at, to);
      this.#checkStep(session, used, to - at);
      if (used === 0) break;
      at += used;
      this.spend(COMMAND_UNITS + items.workBytes);
      items.workBytes = 0;
      this.#goOn(session);
    }
    return at;
  }

  /** A connection's turn begins. */
  begin(): void {
    this.paused = false;
    this.#units = 0;
  }

  /** Counts work; when it is much, the turn ends after the command under way. */
  spend(units: number): void {
    this.#units += units;
    if (this.#units > TURN_UNITS_MAX) this.paused = true;
  }

  /** Units of work since the turn began. */
  get spent(): number {
    return this.#units;
  }

  /** Tells more of a long reply, until it ends, or the turn does. */
  #goOn(session: Session): void {
    while (session.longReply !== undefined && !this.paused) {
      if (session.longReply.step()) session.longReply = undefined;
    }
  }

  /**
   * Every step uses bytes, or waits for more of them below a limit: so no input makes the loop
   * turn for ever, or a connection keep more and more.
   * @throws AssertionError, which ends the connection
   */
  #checkStep({ need }: Session, used: number, left: number): void {
    assert(used >= 0 && used <= left, "a command uses bytes that are there");
    if (used > 0 || this.paused) return;
    if (need === 0)
      assert(left <= LINE_BYTES_MAX, "a part of a line is shorter than a line may be");
    else {
      const most = this.parts.items.itemBytesMax + COMMAND_BYTES_MAX;
      assert(need > left && need <= most, "a command waits for a length that it may have");
    }
  }

  #decide(session: Session, first: number): void {
    const { protocol } = this.parts.settings;
    const binary = protocol === "binary" || (protocol === "auto" && first === REQUEST);
    session.protocol = binary ? BINARY : TEXT;
    session.authenticated = this.parts.credentials === undefined;
  }
}
