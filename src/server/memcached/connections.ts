// One thread's connections: what comes is worked through, its replies go out in one write, and a
// client that does not take them is not read from until it does.
import { writeSync } from "node:fs";
import { Socket } from "node:net";
import type { SampledTimes } from "../../base/sampled_times.ts";
import { C, type Counters } from "../../front/items/counters.ts";
import { Reply } from "../../wire/memcached/reply.ts";
import type { InternalErrors } from "../internal_errors.ts";
import type { Engine } from "./engine.ts";
import { Intake } from "./intake.ts";
import type { CloseReason, ConnectionFacts } from "./log_records.ts";
import * as Say from "./replies.ts";
import { Session, TEXT, UNDECIDED } from "./session.ts";
import type { MemcachedSettings } from "./settings.ts";
import type { ConnectionRow } from "./stats.ts";
import type { Watch, Watcher, WatchRefusal } from "./watch.ts";

const REPLY_BYTES = 65_536;
const IDLE_CHECK_MS = 1000;
/** How long a client may keep open what has been ended here, once it has all that was sent. */
const END_WAIT_MS = 2000;
/**
 * After so many bytes of replies to what came in one read, the others have their turn: 64 KiB of
 * short requests for long values would take milliseconds.
 */
const TURN_BYTES_MAX = 131_072;

interface Connection {
  readonly id: number;
  /** Its descriptor; its `id` where the system has none. */
  readonly cfd: number;
  /** What a log says of it, once somebody watches connections: later it can't be asked for. */
  facts: ConnectionFacts | undefined;
  watcher: Watcher | undefined;
  /** Those who watch connections have been told that it ends. */
  isEndTold: boolean;
  readonly session: Session;
  socket: Socket;
  /** Of the unix socket that it came by. */
  readonly path: string | undefined;
  readonly isEncrypted: boolean;
  /** Replies wait for the client; nothing is read. */
  blocked: boolean;
}

/** The part of a socket that is not public: where it stands, and what is moved to another. */
interface WithHandle {
  _handle: { readonly fd?: number } | null | undefined;
}

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
  /** Bytes of replies since its turn began. */
  #turnBytes = 0;
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
      if (this.#isFull()) this.#reject(accepted);
      else this.#take(accepted, encrypted, path);
    } catch (error) {
      this.#errors.report("memcached: a new connection", error);
      accepted.destroy();
    }
  }

  #take(accepted: Socket, encrypted: boolean, path: string | undefined): void {
    this.#counters.own[C.total_connections]++;
    const id = ++this.#ids;
    const fd = (accepted as unknown as WithHandle)._handle?.fd ?? -1;
    const connection: Connection = {
      id,
      cfd: fd >= 0 ? fd : id,
      facts: undefined,
      watcher: undefined,
      isEndTold: false,
      path,
      isEncrypted: encrypted,
      session: new Session(),
      socket: accepted,
      blocked: false,
    };
    connection.session.lastCommandAt = Math.floor(Date.now() / 1000);
    this.#open.set(connection.id, connection);
    if (encrypted) this.#readChunks(connection);
    else this.#readIntoTarget(connection);
    this.#listenTo(connection);
  }

  #reject(socket: Socket): void {
    this.#counters.own[C.rejected_connections]++;
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
    socket.on("drain", () => this.#drained(connection));
    socket.on("error", destroyThis);
    socket.on("close", (failed) => {
      try {
        this.#closed(connection, failed);
      } catch (error) {
        this.#errors.report("memcached: the end of a connection", error);
      }
    });
    this.#watch.begin(-1);
    if (this.#watch.hasConnections) this.#watch.connection(this.#factsOf(connection));
    this.#watch.end();
  }

  /** What `stats conns` tells. */
  rows(): ConnectionRow[] {
    const now = Math.floor(Date.now() / 1000);
    return [...this.#open.values()].map(({ cfd, path, session, socket, blocked, watcher }) => ({
      id: cfd,
      facts: {
        addr: addressOf(socket.remoteAddress, socket.remotePort),
        listen_addr:
          path === undefined ? addressOf(socket.localAddress, socket.localPort) : `unix:${path}`,
        state: this.#stateOf(session, blocked, watcher),
        secs_since_last_cmd: Math.max(0, now - session.lastCommandAt),
      },
    }));
  }

  #stateOf(session: Session, blocked: boolean, watcher: Watcher | undefined): string {
    if (watcher !== undefined) return "conn_watch";
    if (blocked) return "conn_mwrite";
    if (session.need > 0) return "conn_nread";
    return session === this.#current?.session ? "conn_parse_cmd" : "conn_read";
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
    for (const connection of this.#open.values()) this.#factsOf(connection);
  }

  /** Once for each connection, if that is watched; a client may keep its own half open for long. */
  #tellEnd(connection: Connection, reason: CloseReason): void {
    if (connection.isEndTold) return;
    connection.isEndTold = true;
    this.#watch.begin(-1);
    if (this.#watch.hasConnections) this.#watch.connection(this.#factsOf(connection), reason);
    this.#watch.end();
  }

  /** Asked for while it is open: a closed one has no address any more. */
  #factsOf(connection: Connection): ConnectionFacts {
    if (connection.facts === undefined) {
      const { remoteAddress, remotePort } = connection.socket;
      connection.facts = { cfd: connection.cfd, host: remoteAddress, port: remotePort ?? 0 };
    }
    return connection.facts;
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

  #isFull(): boolean {
    const counters = this.#counters;
    const open = counters.sum("total_connections") - counters.sum("closed_connections");
    return open >= this.#settings.connectionsMax;
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
    this.engine.paused = connection.blocked;
    this.#turnBytes = 0;
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
    connection.blocked = this.engine.paused;
    this.#counters.own[C.read_buf_bytes] = this.#intake.pendingBytes;
    if (session.closing) {
      socket.end();
      this.#ending.set(connection, Date.now());
      this.#tellEnd(connection, session.endsFor);
      return true;
    }
    if (!connection.blocked) return true;
    this.#counters.own[C.conn_yields]++;
    // If it waits only for its turn, and not for the client, nobody else wakes it.
    if (!this.#isBehind(socket)) setImmediate(() => this.#drained(connection));
    return false;
  }

  /** Too much is kept for half-sent commands: this one is given up. */
  #refuse(session: Session): void {
    this.#counters.own[C.read_buf_oom]++;
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
    const taken = socket.writableLength > 0 ? 0 : writeAtOnce(connection, reply.bytes, length);
    if (taken < length) socket.write(reply.bytes.slice(taken, length));
    this.#turnBytes += length;
    if (this.#turnBytes > TURN_BYTES_MAX || this.#isBehind(socket)) this.engine.paused = true;
  }

  #isBehind(socket: Socket): boolean {
    return socket.writableLength > this.#settings.backlogBytesMax;
  }

  #drained(connection: Connection): void {
    if (!connection.blocked || connection.session.closing) return;
    connection.blocked = false;
    try {
      this.#begin(connection);
      const bearable = this.#intake.resume(connection.session);
      if (this.#finish(connection, bearable)) connection.socket.resume();
    } catch (error) {
      this.#fail(connection, error);
    }
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
    this.#intake.forget(session);
    this.#counters.own[C.closed_connections]++;
  }

  #lookAround(): void {
    this.#watch.begin(-1);
    this.#watch.end();
    for (const [{ socket }, endedMs] of this.#ending) {
      if (socket.writableFinished && Date.now() - endedMs >= END_WAIT_MS) socket.destroy();
    }
    this.#closeIdle();
  }

  #closeIdle(): void {
    if (this.#settings.idleTimeoutS === 0) return;
    const before = Math.floor(Date.now() / 1000) - this.#settings.idleTimeoutS;
    for (const { session, socket, watcher } of this.#open.values()) {
      if (session.lastCommandAt >= before || watcher !== undefined) continue;
      session.endsFor = "idle_timeout";
      this.#counters.own[C.idle_kicks]++;
      socket.destroy();
    }
  }
}

/** One for all sockets. */
function destroyThis(this: Socket): void {
  this.destroy();
}

function addressOf(host: string | undefined, port: number | undefined): string {
  return host === undefined ? "unix" : `tcp:${host}:${port}`;
}

/** @returns bytes that the system has taken; 0 also where a socket can't be written to so */
function writeAtOnce(
  { socket, isEncrypted }: Connection,
  bytes: Uint8Array,
  length: number,
): number {
  const fd = isEncrypted ? undefined : (socket as unknown as WithHandle)._handle?.fd;
  if (fd === undefined || fd < 0) return 0;
  try {
    return writeSync(fd, bytes, 0, length);
  } catch {
    // It takes nothing now, or nothing any more: the stream finds out which.
    return 0;
  }
}
