// What each thread gives to the commands of both protocols.
import type { Credentials } from "../auth.ts";
import type { Items } from "../items/items.ts";
import type { Reply } from "../protocol/reply.ts";
import type { Session } from "../session.ts";
import type { MemcachedSettings } from "../settings.ts";
import type { WatchRefusal } from "../watch/watch.ts";
import type { Statistics } from "./statistics.ts";

/** What a command may ask of the server. */
export interface ServerHooks {
  /** Ends the whole server; a graceful end waits for replies that are being sent. */
  shutdown(graceful: boolean): void;
  /**
   * Makes the connection whose command is being executed a watcher.
   * @param flags the events to watch (watch/records.ts)
   * @returns why the connection can't watch, or undefined
   */
  watch(flags: number): WatchRefusal | undefined;
  /** Reads the TLS certificate and key again. @returns whether there are any, and they are good */
  refreshCertificates(): boolean;
}

/** The turn of the connection whose commands are being executed. */
export interface Turn {
  /** The turn has ended: a command with many parts stops after the part that it has begun. */
  readonly paused: boolean;
  /** Counts work, in units of a byte of a reply. Much work ends the turn. */
  spend(units: number): void;
  /**
   * Takes what was thrown while a request was executed, and takes back its reply.
   * @returns whether the request waits for items on other machines, and is to be executed again;
   *   false: it fails, because no answer has come
   * @throws the error, if it is any other one
   */
  awaits(error: unknown): boolean;
}

export interface CommandParts {
  readonly items: Items;
  readonly reply: Reply;
  readonly settings: MemcachedSettings;
  readonly stats: Statistics;
  readonly hooks: ServerHooks;
  /** Undefined: clients need no password. */
  readonly credentials: Credentials | undefined;
}

/** One of the two protocols. */
export interface Protocol {
  /**
   * Executes the request that begins at `from`. A request that is not complete is left where it is;
   * `session.need` then says how many bytes it takes, if that is known.
   * @returns the number of bytes used: 0 if the request is not complete
   */
  execute(session: Session, bytes: Uint8Array, from: number, to: number): number;
  /**
   * Answers the request that `execute` was called for, and that has failed because other machines
   * have not answered.
   * @returns the number of bytes used
   */
  fail(): number;
}
