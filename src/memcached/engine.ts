// Executes the requests of a thread's connections: bytes go in, replies come out. The engine knows
// which protocol a connection speaks, and how long a turn is, but no sockets; tests feed it from
// arrays.

import { assert, ZcacheError } from "../base/errors.ts";
import { BinaryProtocol } from "./commands/binary/protocol.ts";
import type { CommandParts, Protocol, Turn } from "./commands/contract.ts";
import { TextProtocol } from "./commands/text/protocol.ts";
import { isRemoteError } from "./items/access.ts";
import { C } from "./items/counters.ts";
import { COMMAND_UNITS } from "./items/items.ts";
import { REQUEST } from "./protocol/binary.ts";
import { LINE_BYTES_MAX } from "./protocol/text.ts";
import { BINARY, Session, TEXT, UNDECIDED } from "./session.ts";

/** Bytes of a request with a value beside those of the item: its line, or a password. */
const COMMAND_BYTES_MAX = 2 * LINE_BYTES_MAX;

/**
 * The work of a turn, in units: one for each byte of a reply or of a value that is stored, and
 * COMMAND_UNITS for each command. Without a limit, 64 KiB of short requests for long values would
 * take milliseconds, and other connections would wait.
 */
const TURN_UNITS_MAX = 131_072;

export class Engine implements Turn {
  readonly parts: CommandParts;
  /** The turn has ended, or the client accepts no more replies for now. */
  paused = false;
  #units = 0;
  /** The connection whose requests are executed. */
  #session = new Session();
  readonly #text: TextProtocol;
  readonly #binary: BinaryProtocol;

  constructor(parts: CommandParts) {
    this.parts = parts;
    this.#text = new TextProtocol(this, parts);
    this.#binary = new BinaryProtocol(this, parts);
  }

  /**
   * Executes the requests at [from, to), as far as they are complete and the turn lasts.
   * @returns where it stopped; `session.need` says how many bytes the request there takes
   */
  feed(session: Session, bytes: Uint8Array, from: number, to: number): number {
    const { items } = this.parts;
    let at = from;
    session.need = 0;
    this.#session = session;
    this.#continueReply(session);
    while (at < to && !session.closing && !this.paused && session.longReply === undefined) {
      if (session.swallow > 0) {
        const passed = Math.min(session.swallow, to - at);
        session.swallow -= passed;
        at += passed;
        continue;
      }
      if (session.protocol === UNDECIDED) this.#decide(session, bytes[at]!);
      const protocol = session.protocol === BINARY ? this.#binary : this.#text;
      const used = this.#execute(protocol, session, bytes, at, to);
      this.#checkStep(session, used, to - at);
      if (used === 0) break;
      at += used;
      this.spend(COMMAND_UNITS + items.workBytes);
      items.workBytes = 0;
      this.#continueReply(session);
    }
    return at;
  }

  #execute(
    protocol: Protocol,
    session: Session,
    bytes: Uint8Array,
    from: number,
    to: number,
  ): number {
    this.parts.reply.begin();
    let used: number;
    try {
      used = protocol.execute(session, bytes, from, to);
    } catch (error) {
      used = this.awaits(error) ? 0 : protocol.fail();
    }
    if (session.remote !== undefined && !session.remote.isPending) {
      session.remote.release();
      session.remote = undefined;
    }
    return used;
  }

  awaits(error: unknown): boolean {
    const { items, reply } = this.parts;
    const isSet = items.isSetOpen;
    items.isSetOpen = false;
    if (!items.hasRemote || !(error instanceof ZcacheError)) throw error;
    // An item that must not be lost, and is, is an answer: ERR_CORRUPT.
    if (!isRemoteError(error) && error.code !== "ERR_CORRUPT") throw error;
    reply.rollBack();
    if (error.code !== "ERR_REMOTE_PAGE") return false;
    const session = this.#session;
    session.remote ??= items.newWait();
    if (!session.remote.addWanted()) return false;
    // The set is counted when it is executed anew.
    if (isSet) items.counts[C.cmd_set]!--;
    this.paused = true;
    return true;
  }

  /** Begins the turn of a connection. */
  begin(): void {
    this.paused = false;
    this.#units = 0;
  }

  /** Counts work; much work ends the turn after the command that is being executed. */
  spend(units: number): void {
    this.#units += units;
    if (this.#units > TURN_UNITS_MAX) this.paused = true;
  }

  /** Units of work in this turn. */
  get spent(): number {
    return this.#units;
  }

  /** Continues a long reply until it ends, or the turn does. */
  #continueReply(session: Session): void {
    while (session.longReply !== undefined && !this.paused) {
      if (session.longReply.step()) session.longReply = undefined;
    }
  }

  /**
   * Every step uses bytes, or waits for more of them below a limit: so no input makes the loop
   * endless, or lets the buffer of a connection grow without bound.
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
