// One thread's work on commands: bytes of a connection go in, replies come out, items change in
// between. It knows no sockets; tests feed it from arrays.

import { assert } from "../../base/errors.ts";
import type { Items } from "../../front/items/items.ts";
import { REQUEST } from "../../wire/memcached/binary.layout.ts";
import type { Reply } from "../../wire/memcached/reply.ts";
import { LINE_BYTES_MAX } from "../../wire/memcached/text.ts";
import type { Credentials } from "./auth.ts";
import { BinaryCommands } from "./binary.ts";
import { BINARY, type Session, TEXT, UNDECIDED } from "./session.ts";
import type { MemcachedSettings } from "./settings.ts";
import type { Statistics } from "./stats.ts";
import { TextCommands } from "./text.ts";
import type { WatchRefusal } from "./watch.ts";

/** What a command may ask of the server around it. */
export interface ServerHooks {
  /** Ends the whole server, after what is under way if gracefully. */
  shutdown(graceful: boolean): void;
  /**
   * Makes the connection whose commands are being done one that watches, by the flags of
   * log_records.ts. @returns why not, or undefined
   */
  watch(flags: number): WatchRefusal | undefined;
  /** Reads the TLS certificate and key again. @returns whether there are any, and they are good */
  refreshCertificates(): boolean;
}

export interface EngineParts {
  readonly items: Items;
  readonly reply: Reply;
  readonly settings: MemcachedSettings;
  readonly stats: Statistics;
  readonly hooks: ServerHooks;
  /** Who may come in; undefined: everybody. */
  readonly credentials: Credentials | undefined;
}

/** What a command with a value takes besides an item's bytes: its line, or a password. */
const COMMAND_BYTES_MAX = 2 * LINE_BYTES_MAX;

export class Engine {
  readonly parts: EngineParts;
  /** The connection takes no more replies for now: stop after the command under way. */
  paused = false;
  readonly #text: TextCommands;
  readonly #binary: BinaryCommands;

  constructor(parts: EngineParts) {
    this.parts = parts;
    this.#text = new TextCommands(this, parts);
    this.#binary = new BinaryCommands(parts);
  }

  /**
   * Does the commands that stand at [from, to), as far as they are complete and replies are taken.
   * @returns where it stopped; `session.need` says how much a command takes that has begun there
   */
  feed(session: Session, bytes: Uint8Array, from: number, to: number): number {
    let at = from;
    session.need = 0;
    if (session.dumpAt >= 0) this.#text.goOn(session);
    while (at < to && !session.closing && !this.paused && session.dumpAt < 0) {
      if (session.swallow > 0) {
        const passed = Math.min(session.swallow, to - at);
        session.swallow -= passed;
        at += passed;
        continue;
      }
      if (session.protocol === UNDECIDED) this.#decide(session, bytes[at]!);
      const commands = session.protocol === BINARY ? this.#binary : this.#text;
      const used = commands.execute(session, bytes, at, to);
      this.#checkStep(session, used, to - at);
      if (used === 0) break;
      at += used;
      if (session.dumpAt >= 0) this.#text.goOn(session);
    }
    return at;
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
