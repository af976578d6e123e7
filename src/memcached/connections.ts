// The connections of one thread. The requests of a read are executed, their replies are sent in one
// write, and a client that does not accept its replies is not read from until it does.
import { Socket } from "node:net";
import type { SampledTimes } from "../base/sampled_times.ts";
import type { InternalErrors } from "../node/internal_errors.ts";
import type { RemoteWait } from "../store/remote_arrivals.ts";
import type { ConnectionRow } from "./commands/statistics.ts";
import * as Say from "./commands/text/replies.ts";
import { Connection, type WithHandle } from "./connection.ts";
import type { Engine } from "./engine.ts";
import type { ItemAccess } from "./items/access.ts";
import { C, type Counters } from "./items/counters.ts";
import { Reply } from "./protocol/reply.ts";
import { ReceiveBuffer } from "./receive_buffer.ts";
import { RemoteWaits } from "./remote_waits.ts";
import { SendQueue } from "./send_queue.ts";
import { type Session, TEXT, UNDECIDED } from "./session.ts";
import type { MemcachedSettings } from "./settings.ts";
import { Turns } from "./turns.ts";
import type { CloseReason } from "./watch/records.ts";
import type { Watch, WatchRefusal } from "./watch/watch.ts";

const REPLY_BYTES = 65_536;
const IDLE_CHECK_MS = 1000;
/** How long a client that has all replies may keep a connection open that the server has ended. */
const END_WAIT_MS = 2000;
/** How long it may go without accepting any of them. */
const END_TAKE_MS = 10_000;

export interface ConnectionsParts {
  readonly settings: MemcachedSettings;
  readonly counters: Counters;
  /** Times from a read to the writes of its replies. */
  readonly times: SampledTimes;
  readonly makeEngine: (reply: Reply) => Engine;
  readonly watch: Watch;
  /** Takes unexpected errors; one ends the connection in which it happens. */
  readonly errors: InternalErrors;
  /** Makes buffers that the store fills, or takes values from, without a copy. */
  readonly buffers: Pick<ItemAccess, "makeBuffer" | "makeInput">;
}

export class Connections {
  readonly engine: Engine;
  readonly #settings: MemcachedSettings;
  readonly #counters: Counters;
  readonly #receiveBuffer: ReceiveBuffer;
  readonly #reply: Reply;
  readonly #open = new Map<number, Connection>();
  /** Connections that the server has ended, and when, in ms since 1970. */
  readonly #ending = new Map<Connection, number>();
  #ids = 0;
  /** The connection whose commands are being executed. */
  #current: Connection | undefined;
  readonly #turns: Turns<Connection>;
  readonly #sendQueue: SendQueue<Connection>;
  readonly #remoteWaits = new RemoteWaits<Connection>((connection) => this.#arrived(connection));
  readonly #watch: Watch;
  readonly #errors: InternalErrors;
  readonly #times: SampledTimes;
  /** When its turn began, if the turn is timed, else 0. */
  #begunMs = 0;
  readonly #idleCheck: NodeJS.Timeout;

  constructor(parts: ConnectionsParts) {
    const { settings, counters, times, makeEngine, buffers, watch, errors } = parts;
    this.#watch = watch;
    this.#errors = errors;
    this.#settings = settings;
    this.#counters = counters;
    this.#times = times;
    const buffer = buffers.makeBuffer(REPLY_BYTES);
    this.#reply = new Reply(REPLY_BYTES, (reply) => this.#write(reply), buffer);
    this.engine = makeEngine(this.#reply);
    this.#receiveBuffer = new ReceiveBuffer(this.engine, (bytes) => buffers.makeInput(bytes));
    this.#turns = new Turns((connection) => this.#giveTurn(connection), errors);
    this.#sendQueue = new SendQueue({
      counters,
      // The longest reply must be possible.
      bytesMax: () => Math.max(settings.unsentBytesMax, 2 * settings.itemBytesMax),
      receivers: () => this.#open.values(),
      accepted: (connection) => this.#accepted(connection),
    });
    this.#idleCheck = setInterval(() => {
      errors.run("memcached: a look at idle connections", () => this.#lookAround());
    }, IDLE_CHECK_MS).unref();
  }

  /**
   * Takes over a socket that was accepted with `pauseOnConnect`.
   * @param path of the unix socket that it was accepted on
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
   * Not a part of `accept`, whose closures would keep the accepted socket, which has no handle any
   * more, for as long as the connection is open.
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
    if (this.#watch.hasConnections) this.#watch.connection(connection.logFacts());
    this.#watch.end();
  }

  /** What `stats conns` lists. */
  rows(): ConnectionRow[] {
    const now = Math.floor(Date.now() / 1000);
    return [...this.#open.values()].map((one) => one.row(one === this.#current, now));
  }

  /** Makes the current connection a watcher. @returns why it can't be one, or undefined */
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
    // A watcher that has ended its side reads no more: the rest of its lines is dropped.
    socket.once("end", () => socket.destroy());
    return undefined;
  }

  /** To be called when what is watched has changed, perhaps by another thread. */
  lookAtWatched(): void {
    this.#watch.refresh();
    if (!this.#watch.hasConnections) return;
    for (const connection of this.#open.values()) connection.logFacts();
  }

  /** Reports the end of a connection to watchers, once: its client may keep its half open. */
  #logEnd(connection: Connection, reason: CloseReason): void {
    if (connection.isEndLogged) return;
    connection.isEndLogged = true;
    this.#watch.begin(-1);
    if (this.#watch.hasConnections) this.#watch.connection(connection.logFacts(), reason);
    this.#watch.end();
  }

  get count(): number {
    return this.#open.size;
  }

  /** Ends all connections: after their replies are sent, or at once. */
  close(gracefully: boolean): void {
    clearInterval(this.#idleCheck);
    for (const { session, socket, watcher } of this.#open.values()) {
      // It listens to the store, which is closed soon.
      if (watcher !== undefined) this.#watch.remove(watcher);
      // No further request is executed, so that no item changes while the items are saved.
      session.closing = true;
      session.endsFor = "shutdown";
      if (gracefully) socket.end();
      else socket.destroy();
    }
  }

  /** Whether one more connection is allowed, beside so many that have not begun. */
  hasRoom(others: number): boolean {
    const counters = this.#counters;
    const open = counters.sum("total_connections") - counters.sum("closed_connections");
    return open + others < this.#settings.connectionsMax;
  }

  /**
   * Reads into the receive buffer, without an object for each read. Node reads so only for a
   * socket that was constructed for it, so a new socket takes over the handle of the accepted one.
   * Where there is no handle to take over, the accepted socket is read in chunks.
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
    const options = { handle, onread: { buffer: this.#receiveBuffer.target, callback } };
    connection.socket = new Socket(options as ConstructorParameters<typeof Socket>[0]);
  }

  /** A method of its own for the same reason as `#listenTo`. */
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
    // Skipped, but read: otherwise the end of the stream is not seen.
    if (session.closing) return true;
    try {
      this.#begin(connection);
      // The budget of this round is used up: the connection waits for its turn.
      if (connection.isBlocked || !this.#turns.isOpen) this.engine.paused = true;
      const fits =
        chunk === undefined
          ? this.#receiveBuffer.received(session, length)
          : this.#receiveBuffer.receivedCopy(session, chunk);
      return this.#finish(connection, fits);
    } catch (error) {
      this.#fail(connection, error);
      return false;
    }
  }

  /** Which of its commands were executed is not known: the connection ends without a reply. */
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
  #finish(connection: Connection, fits: boolean): boolean {
    const { session, socket } = connection;
    if (!fits) this.#refuse(session);
    this.#reply.flush();
    this.#watch.end();
    if (this.#begunMs !== 0) this.#times.end(0, this.#begunMs);
    this.#current = undefined;
    this.#turns.spend(this.engine.spent);
    this.#counters.own[C.read_buf_bytes] = this.#receiveBuffer.pendingBytes;
    if (session.closing) {
      socket.end();
      this.#ending.set(connection, Date.now());
      this.#logEnd(connection, session.endsFor);
      return true;
    }
    const isBehind = this.#isBehind(socket);
    connection.isBusy = this.engine.paused && connection.hasWork;
    connection.isBlocked = isBehind || connection.isBusy;
    if (!connection.isBlocked) return true;
    this.#counters.own[C.conn_yields]!++;
    if (session.remote?.isPending === true) {
      this.#await(connection, session.remote);
      return false;
    }
    // A client that is behind continues when it has accepted replies.
    if (!isBehind) this.#queue(connection);
    return false;
  }

  #await(connection: Connection, wait: RemoteWait): void {
    if (connection.isAwaiting) return;
    connection.isAwaiting = true;
    this.#remoteWaits.add(connection, wait);
  }

  /** The items that a request waits for are here, or will not come. */
  #arrived(connection: Connection): void {
    connection.isAwaiting = false;
    const { session, socket } = connection;
    if (!session.closing && !socket.destroyed) this.#queue(connection);
    else session.remote?.release();
  }

  #queue(connection: Connection): void {
    if (connection.isQueued) return;
    connection.isQueued = true;
    this.#turns.add(connection, connection.isBusy);
  }

  /** The connection continues with requests that had to wait. */
  #giveTurn(connection: Connection): void {
    connection.isQueued = false;
    const { session, socket } = connection;
    if (session.closing || socket.destroyed || this.#isBehind(socket)) return;
    if (connection.isAwaiting) return;
    try {
      this.#begin(connection);
      const fits = this.#receiveBuffer.resume(session);
      if (this.#finish(connection, fits)) socket.resume();
    } catch (error) {
      this.#fail(connection, error);
    }
  }

  /** The client has accepted some of its replies. */
  #accepted(connection: Connection): void {
    const { isBlocked, session, socket } = connection;
    if (!isBlocked || session.closing || connection.isQueued || this.#isBehind(socket)) return;
    if (connection.isAwaiting) return;
    if (this.#turns.isOpen) this.#giveTurn(connection);
    else this.#queue(connection);
  }

  /** Requests that are not complete take too much memory: this one is refused. */
  #refuse(session: Session): void {
    this.#counters.own[C.read_buf_oom]!++;
    session.closing = true;
    if (session.protocol === TEXT || session.protocol === UNDECIDED) {
      this.#reply.room(Say.NO_PENDING.length);
      this.#reply.literal(Say.NO_PENDING);
    }
  }

  /**
   * Sends replies to the current connection. Bytes that the system does not accept at once are
   * copied to the send queue, so that the reply buffer is free for other connections.
   */
  #write(reply: Reply): void {
    const connection = this.#current!;
    const { socket } = connection;
    const length = reply.at;
    this.#counters.own[C.bytes_written]! += length;
    reply.at = 0;
    if (socket.destroyed || !socket.writable) return;
    const taken = socket.writableLength > 0 ? 0 : connection.writeAtOnce(reply.bytes, length);
    if (taken < length) this.#sendQueue.send(connection, reply.bytes.slice(taken, length));
    this.engine.spend(length);
    if (this.#isBehind(socket)) this.engine.paused = true;
  }

  #isBehind(socket: Socket): boolean {
    return socket.writableLength > this.#settings.backlogBytesMax;
  }

  /** @param failed whether an error has closed the connection */
  #closed(connection: Connection, failed: boolean): void {
    if (!this.#open.delete(connection.id)) return;
    this.#ending.delete(connection);
    const { session, watcher } = connection;
    if (watcher !== undefined) this.#watch.remove(watcher);
    // A connection that the server has not ended, and that had no error, was ended by the client.
    this.#logEnd(connection, session.endsFor === "error" && !failed ? "normal" : session.endsFor);
    session.closing = true;
    session.longReply = undefined;
    session.remote?.release();
    this.#receiveBuffer.forget(session);
    this.#sendQueue.forget(connection);
    this.#counters.own[C.read_buf_bytes] = this.#receiveBuffer.pendingBytes;
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

/** One listener for all sockets. */
function destroyThis(this: Socket): void {
  this.destroy();
}
