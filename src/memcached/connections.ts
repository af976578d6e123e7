// One thread's connections: what comes is worked through, its replies go out in one write, and a
// client that does not take them is not read from until it does.
import { Socket } from "node:net";
import type { SampledTimes } from "../base/sampled_times.ts";
import type { InternalErrors } from "../node/internal_errors.ts";
import type { ConnectionRow } from "./commands/statistics.ts";
import * as Say from "./commands/text/replies.ts";
import { Connection, type WithHandle } from "./connection.ts";
import type { Engine } from "./engine.ts";
import { C, type Counters } from "./items/counters.ts";
import { Reply } from "./protocol/reply.ts";
import { Intake } from "./receive_buffer.ts";
import { Unsent } from "./send_queue.ts";
import { type Session, TEXT, UNDECIDED } from "./session.ts";
import type { MemcachedSettings } from "./settings.ts";
import { Turns } from "./turns.ts";
import type { CloseReason } from "./watch/records.ts";
import type { Watch, WatchRefusal } from "./watch/watch.ts";

const REPLY_BYTES = 65_536;
const IDLE_CHECK_MS = 1000;
/** How long a client may keep open what has been ended here, once it has all that was sent. */
const END_WAIT_MS = 2000;
/** And how long it may leave those untaken. */
const END_TAKE_MS = 10_000;

export interface ConnectionsParts {
  readonly settings: MemcachedSettings;
  readonly counters: Counters;
  /** Times of what one read brings, until its replies are handed on. */
  readonly times: SampledTimes;
  readonly makeEngine: (reply: Reply) => Engine;
  readonly watch: Watch;
  /** Told of what nobody expected; it ends the connection in which it happens. */
  readonly errors: InternalErrors;
  /** Gives a buffer that the store fills faster than others, if it has one. */
  readonly makeBuffer: (bytes: number) => Uint8Array | undefined;
}

export class Connections {
  readonly engine: Engine;
  readonly #settings: MemcachedSettings;
  readonly #counters: Counters;
  readonly #intake: Intake;
  readonly #reply: Reply;
  readonly #open = new Map<number, Connection>();
  /** Those that this side has ended, and when, in ms since 1970. */
  readonly #ending = new Map<Connection, number>();
  #ids = 0;
  /** Whose commands are being worked on, and whose the replies therefore are. */
  #current: Connection | undefined;
  readonly #turns: Turns<Connection>;
  readonly #unsent: Unsent<Connection>;
  readonly #watch: Watch;
  readonly #errors: InternalErrors;
  readonly #times: SampledTimes;
  /** When its turn began, if it is timed, else 0. */
  #begunMs = 0;
  readonly #idleCheck: NodeJS.Timeout;

  constructor(parts: ConnectionsParts) {
    const { settings, counters, times, makeEngine, makeBuffer, watch, errors } = parts;
    this.#watch = watch;
    this.#errors = errors;
    this.#settings = settings;
    this.#counters = counters;
    this.#times = times;
    const buffer = makeBuffer(REPLY_BYTES);
    this.#reply = new Reply(REPLY_BYTES, (reply) => this.#write(reply), buffer);
    this.engine = makeEngine(this.#reply);
    this.#intake = new Intake(this.engine);
    this.#turns = new Turns((connection) => this.#giveTurn(connection), errors);
    this.#unsent = new Unsent({
      counters,
      // One reply must be possible, however long.
      bytesMax: () => Math.max(settings.unsentBytesMax, 2 * settings.itemBytesMax),
      receivers: () => this.#open.values(),
      taken: (connection) => this.#taken(connection),
    });
    this.#idleCheck = setInterval(() => {
      errors.run("memcached: a look at idle connections", () => this.#lookAround());
    }, IDLE_CHECK_MS).unref();
  }

  /**
   * Takes over a socket that was accepted with `pauseOnConnect`.
   * @param path of the unix socket that it came by
   */
  accept(accepted: Socket, encrypted: boolean, path?: string): void {
    try {
      if (!this.hasRoom(0)) this.#reject(accepted);
      else this.#take(accepted, encrypted, path);
    } catch (error) {
      this.#errors.report("memcached: a new connection", error);
      accepted.destroy();
    }
  }

  #take(accepted: Socket, encrypted: boolean, path: string | undefined): void {
    this.#counters.own[C.total_connections]!++;
    const connection = new Connection(++this.#ids, accepted, encrypted, path);
    this.#open.set(connection.id, connection);
    if (encrypted) this.#readChunks(connection);
    else this.#readIntoTarget(connection);
    this.#listenTo(connection);
  }

  #reject(socket: Socket): void {
    this.#counters.own[C.rejected_connections]!++;
    socket.on("error", () => {});
    socket.end(Say.TOO_MANY, () => socket.destroy());
  }

  /**
   * Apart from `accept`: closures that are made there keep the accepted socket, which has no handle
   * any more, for as long as the connection is open.
   */
  #listenTo(connection: Connection): void {
    const { socket } = connection;
    socket.setNoDelay?.(true);
    socket.on("error", destroyThis);
    socket.on("close", (failed) => {
      try {
        this.#closed(connection, failed);
      } catch (error) {
        this.#errors.report("memcached: the end of a connection", error);
      }
    });
    this.#watch.begin(-1);
    if (this.#watch.hasConnections) this.#watch.connection(connection.tellFacts());
    this.#watch.end();
  }

  /** What `stats conns` tells. */
  rows(): ConnectionRow[] {
    const now = Math.floor(Date.now() / 1000);
    return [...this.#open.values()].map((one) => one.row(one === this.#current, now));
  }

  /** The connection that is being worked on reads log lines from now on; or why not. */
  watch(flags: number): WatchRefusal | undefined {
    const connection = this.#current!;
    const { socket } = connection;
    const result = this.#watch.add(flags, {
      waiting: () => socket.writableLength,
      write: (lines) => {
        if (!socket.destroyed && socket.writable) socket.write(lines, "latin1");
      },
    });
    if (typeof result === "string") return result;
    connection.watcher = result;
    // Who does not read would never take the rest; nobody waits for it.
    socket.once("end", () => socket.destroy());
    return undefined;
  }

  /** What is watched has changed, perhaps in another thread. */
  lookAtWatched(): void {
    this.#watch.refresh();
    if (!this.#watch.hasConnections) return;
    for (const connection of this.#open.values()) connection.tellFacts();
  }

  /** Once for each connection, if that is watched; a client may keep its own half open for long. */
  #tellEnd(connection: Connection, reason: CloseReason): void {
    if (connection.isEndTold) return;
    connection.isEndTold = true;
    this.#watch.begin(-1);
    if (this.#watch.hasConnections) this.#watch.connection(connection.tellFacts(), reason);
    this.#watch.end();
  }

  get count(): number {
    return this.#open.size;
  }

  /** Ends all connections: after what is on its way out, or at once. */
  close(gracefully: boolean): void {
    clearInterval(this.#idleCheck);
    for (const { session, socket, watcher } of this.#open.values()) {
      // The store, which it may hear of, is soon closed.
      if (watcher !== undefined) this.#watch.remove(watcher);
      // What comes now is not done any more, so that nothing changes behind who saves the items.
      session.closing = true;
      session.endsFor = "shutdown";
      if (gracefully) socket.end();
      else socket.destroy();
    }
  }

  /** Whether there may be one more connection, beside so many that have not begun. */
  hasRoom(others: number): boolean {
    const counters = this.#counters;
    const open = counters.sum("total_connections") - counters.sum("closed_connections");
    return open + others < this.#settings.connectionsMax;
  }

  /**
   * Reads without an object for each read. Only a socket that is made so can, and a server makes
   * its own: so a new one takes the accepted one's handle. Where there is no handle to take, the
   * accepted socket is read as any other.
   */
  #readIntoTarget(connection: Connection): void {
    const accepted = connection.socket as unknown as WithHandle;
    const handle = accepted._handle;
    if (handle === null || typeof handle !== "object") {
      this.#readChunks(connection);
      return;
    }
    accepted._handle = null;
    const callback = this.#callbackOf(connection);
    const options = { handle, onread: { buffer: this.#intake.target, callback } };
    connection.socket = new Socket(options as ConstructorParameters<typeof Socket>[0]);
  }

  /** Apart for the same reason as `#listenTo`. */
  #callbackOf(connection: Connection): (length: number) => boolean {
    return (length) => this.#received(connection, length, undefined);
  }

  #readChunks(connection: Connection): void {
    const { socket } = connection;
    socket.on("data", (chunk: Buffer) => {
      if (!this.#received(connection, chunk.length, chunk)) socket.pause();
    });
    socket.resume();
  }

  /** @returns whether reading goes on */
  #received(connection: Connection, length: number, chunk: Uint8Array | undefined): boolean {
    const { session } = connection;
    this.#counters.own[C.bytes_read]! += length;
    // Passed over; but it is read, because so its end is seen.
    if (session.closing) return true;
    try {
      this.#begin(connection);
      // Others have had much in this round: it waits for its turn.
      if (connection.isBlocked || !this.#turns.isOpen) this.engine.paused = true;
      const bearable =
        chunk === undefined
          ? this.#intake.received(session, length)
          : this.#intake.receivedCopy(session, chunk);
      return this.#finish(connection, bearable);
    } catch (error) {
      this.#fail(connection, error);
      return false;
    }
  }

  /** Nobody knows what of its commands is done: the connection ends, without a further reply. */
  #fail(connection: Connection, error: unknown): void {
    this.#errors.report("memcached: a connection", error);
    this.#reply.discard();
    this.#current = undefined;
    connection.session.closing = true;
    connection.socket.destroy();
  }

  #begin(connection: Connection): void {
    this.#current = connection;
    this.#watch.begin(connection.cfd);
    this.engine.parts.items.tick(Date.now());
    this.engine.begin();
    this.#begunMs = this.#times.begin();
  }

  /** @returns whether reading goes on */
  #finish(connection: Connection, bearable: boolean): boolean {
    const { session, socket } = connection;
    if (!bearable) this.#refuse(session);
    this.#reply.flush();
    this.#watch.end();
    if (this.#begunMs !== 0) this.#times.end(0, this.#begunMs);
    this.#current = undefined;
    this.#turns.spend(this.engine.spent);
    this.#counters.own[C.read_buf_bytes] = this.#intake.pendingBytes;
    if (session.closing) {
      socket.end();
      this.#ending.set(connection, Date.now());
      this.#tellEnd(connection, session.endsFor);
      return true;
    }
    const isBehind = this.#isBehind(socket);
    connection.isBusy = this.engine.paused && connection.hasWork;
    connection.isBlocked = isBehind || connection.isBusy;
    if (!connection.isBlocked) return true;
    this.#counters.own[C.conn_yields]!++;
    // If the client has replies to take, that wakes it.
    if (!isBehind) this.#queue(connection);
    return false;
  }

  #queue(connection: Connection): void {
    if (connection.isQueued) return;
    connection.isQueued = true;
    this.#turns.add(connection, connection.isBusy);
  }

  /** The connection goes on with what had to wait. */
  #giveTurn(connection: Connection): void {
    connection.isQueued = false;
    const { session, socket } = connection;
    if (session.closing || socket.destroyed || this.#isBehind(socket)) return;
    try {
      this.#begin(connection);
      const bearable = this.#intake.resume(session);
      if (this.#finish(connection, bearable)) socket.resume();
    } catch (error) {
      this.#fail(connection, error);
    }
  }

  /** The client has taken some of its replies. */
  #taken(connection: Connection): void {
    const { isBlocked, session, socket } = connection;
    if (!isBlocked || session.closing || connection.isQueued || this.#isBehind(socket)) return;
    if (this.#turns.isOpen) this.#giveTurn(connection);
    else this.#queue(connection);
  }

  /** Too much is kept for half-sent commands: this one is given up. */
  #refuse(session: Session): void {
    this.#counters.own[C.read_buf_oom]!++;
    session.closing = true;
    if (session.protocol === TEXT || session.protocol === UNDECIDED) {
      this.#reply.room(Say.NO_PENDING.length);
      this.#reply.literal(Say.NO_PENDING);
    }
  }

  /**
   * Hands replies to the socket of the connection that is being worked on. What the system does not
   * take at once waits as a copy, which is no larger than it is: so the buffer is free for others,
   * however long a client does not read.
   */
  #write(reply: Reply): void {
    const connection = this.#current!;
    const { socket } = connection;
    const length = reply.at;
    this.#counters.own[C.bytes_written]! += length;
    reply.at = 0;
    if (socket.destroyed || !socket.writable) return;
    const taken = socket.writableLength > 0 ? 0 : connection.writeAtOnce(reply.bytes, length);
    if (taken < length) this.#unsent.send(connection, reply.bytes.slice(taken, length));
    this.engine.spend(length);
    if (this.#isBehind(socket)) this.engine.paused = true;
  }

  #isBehind(socket: Socket): boolean {
    return socket.writableLength > this.#settings.backlogBytesMax;
  }

  /** @param failed with an error, which is not what clients mean to do */
  #closed(connection: Connection, failed: boolean): void {
    if (!this.#open.delete(connection.id)) return;
    this.#ending.delete(connection);
    const { session, watcher } = connection;
    if (watcher !== undefined) this.#watch.remove(watcher);
    // Who was not sent away by us has gone, and if without an error, of its own will.
    this.#tellEnd(connection, session.endsFor === "error" && !failed ? "normal" : session.endsFor);
    session.closing = true;
    session.longReply = undefined;
    this.#intake.forget(session);
    this.#unsent.forget(connection);
    this.#counters.own[C.read_buf_bytes] = this.#intake.pendingBytes;
    this.#counters.own[C.closed_connections]!++;
  }

  #lookAround(): void {
    this.#watch.begin(-1);
    this.#watch.end();
    this.#reply.trim();
    const now = Date.now();
    for (const [{ socket, takenAtMs }, endedMs] of this.#ending) {
      const since = socket.writableFinished ? endedMs : Math.max(endedMs, takenAtMs);
      const waitMs = socket.writableFinished ? END_WAIT_MS : END_TAKE_MS;
      if (now - since >= waitMs) socket.destroy();
    }
    this.#closeIdle();
  }

  #closeIdle(): void {
    if (this.#settings.idleTimeoutS === 0) return;
    const before = Math.floor(Date.now() / 1000) - this.#settings.idleTimeoutS;
    for (const { session, socket, watcher } of this.#open.values()) {
      if (session.lastCommandAt >= before || watcher !== undefined) continue;
      session.endsFor = "idle_timeout";
      this.#counters.own[C.idle_kicks]!++;
      socket.destroy();
    }
  }
}

/** One for all sockets. */
function destroyThis(this: Socket): void {
  this.destroy();
}
