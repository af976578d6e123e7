// One thread's connections: what comes is worked through, its replies go out in one write, and a
// client that does not take them is not read from until it does.
import { Socket } from "node:net";
import type { SampledTimes } from "../../base/sampled_times.ts";
import { C, type Counters } from "../../front/items/counters.ts";
import { Reply } from "../../wire/memcached/reply.ts";
import type { Engine } from "./engine.ts";
import { Intake } from "./intake.ts";
import * as Say from "./replies.ts";
import { Session, TEXT, UNDECIDED } from "./session.ts";
import type { MemcachedSettings } from "./settings.ts";
import type { ConnectionRow } from "./stats.ts";

const REPLY_BYTES = 65_536;
const IDLE_CHECK_MS = 1000;
/**
 * After so many bytes of replies to what came in one read, the others have their turn: 64 KiB of
 * short requests for long values would take milliseconds.
 */
const TURN_BYTES_MAX = 131_072;

interface Connection {
  readonly id: number;
  readonly session: Session;
  socket: Socket;
  /** Replies wait for the client; nothing is read. */
  blocked: boolean;
}

/** The part of an accepted socket that is not public, and is moved to one with a buffer. */
interface WithHandle {
  _handle: unknown;
}

export interface ConnectionsParts {
  readonly settings: MemcachedSettings;
  readonly counters: Counters;
  /** Times of what one read brings, until its replies are handed on. */
  readonly times: SampledTimes;
  readonly makeEngine: (reply: Reply) => Engine;
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
  #ids = 0;
  /** Whose commands are being worked on, and whose the replies therefore are. */
  #current: Connection | undefined;
  /** Whose replies the system reads yet from the buffer that others are to be written to. */
  #holder: Connection | undefined;
  /** Bytes of replies since its turn began. */
  #turnBytes = 0;
  readonly #times: SampledTimes;
  /** When its turn began, if it is timed, else 0. */
  #begunMs = 0;
  readonly #idleCheck: NodeJS.Timeout;

  constructor({ settings, counters, times, makeEngine, makeBuffer }: ConnectionsParts) {
    this.#settings = settings;
    this.#counters = counters;
    this.#times = times;
    const buffer = makeBuffer(REPLY_BYTES);
    this.#reply = new Reply(REPLY_BYTES, (reply) => this.#write(reply), buffer);
    this.engine = makeEngine(this.#reply);
    this.#intake = new Intake(this.engine);
    this.#idleCheck = setInterval(() => this.#closeIdle(), IDLE_CHECK_MS).unref();
  }

  /** Takes over a socket that was accepted with `pauseOnConnect`. */
  accept(accepted: Socket, encrypted: boolean): void {
    if (this.#isFull()) {
      this.#reject(accepted);
      return;
    }
    this.#counters.own[C.total_connections]++;
    const connection: Connection = {
      id: ++this.#ids,
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
    socket.on("close", () => this.#closed(connection));
  }

  /** What `stats conns` tells. */
  rows(): ConnectionRow[] {
    const now = Math.floor(Date.now() / 1000);
    return [...this.#open.values()].map(({ id, session, socket, blocked }) => ({
      id,
      facts: {
        addr: addressOf(socket.remoteAddress, socket.remotePort),
        listen_addr: addressOf(socket.localAddress, socket.localPort),
        state: blocked
          ? "conn_mwrite"
          : session.need > 0
            ? "conn_nread"
            : session === this.#current?.session
              ? "conn_parse_cmd"
              : "conn_read",
        secs_since_last_cmd: Math.max(0, now - session.lastCommandAt),
      },
    }));
  }

  get count(): number {
    return this.#open.size;
  }

  /** Ends all connections: after what is on its way out, or at once. */
  close(gracefully: boolean): void {
    clearInterval(this.#idleCheck);
    for (const { session, socket } of this.#open.values()) {
      // What comes now is not done any more, so that nothing changes behind who saves the items.
      session.closing = true;
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
    if (session.closing) return false;
    this.#begin(connection);
    const bearable =
      chunk === undefined
        ? this.#intake.received(session, length)
        : this.#intake.receivedCopy(session, chunk);
    return this.#finish(connection, bearable);
  }

  #begin(connection: Connection): void {
    if (this.#holder !== undefined && this.#holder.socket.writableLength === 0) this.#takeBack();
    this.#current = connection;
    this.engine.parts.items.tick(Date.now());
    this.engine.paused = connection.blocked;
    this.#turnBytes = 0;
    this.#begunMs = this.#times.begin();
  }

  /** The system has taken all of the buffer that was given up. */
  #takeBack(): void {
    this.#holder = undefined;
    this.#reply.takeBack();
  }

  /** @returns whether reading goes on */
  #finish(connection: Connection, bearable: boolean): boolean {
    const { session, socket } = connection;
    if (!bearable) this.#refuse(session);
    this.#reply.flush();
    if (this.#begunMs !== 0) this.#times.end(0, this.#begunMs);
    this.#current = undefined;
    connection.blocked = this.engine.paused;
    this.#counters.own[C.read_buf_bytes] = this.#intake.pendingBytes;
    if (session.closing) {
      socket.end();
      return false;
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

  /** Hands replies to the socket of the connection that is being worked on. */
  #write(reply: Reply): void {
    const { socket } = this.#current!;
    const length = reply.at;
    this.#counters.own[C.bytes_written]! += length;
    if (socket.destroyed || !socket.writable) {
      reply.at = 0;
      return;
    }
    if (socket.writableLength > 0) {
      // It will wait: as a copy, which is no larger than it is.
      socket.write(reply.bytes.slice(0, length));
      reply.at = 0;
    } else {
      // A Buffer, because a stream would make one of anything else.
      socket.write(Buffer.from(reply.bytes.buffer, reply.bytes.byteOffset, length));
      // What the system took at once is not looked at again. Otherwise the buffer is still in use.
      if (socket.writableLength === 0) reply.at = 0;
      else if (reply.renew()) this.#holder = this.#current;
    }
    this.#turnBytes += length;
    if (this.#turnBytes > TURN_BYTES_MAX || this.#isBehind(socket)) this.engine.paused = true;
  }

  #isBehind(socket: Socket): boolean {
    return socket.writableLength > this.#settings.backlogBytesMax;
  }

  #drained(connection: Connection): void {
    if (!connection.blocked || connection.session.closing) return;
    connection.blocked = false;
    this.#begin(connection);
    const bearable = this.#intake.resume(connection.session);
    if (this.#finish(connection, bearable)) connection.socket.resume();
  }

  #closed(connection: Connection): void {
    if (!this.#open.delete(connection.id)) return;
    if (this.#holder === connection) this.#takeBack();
    connection.session.closing = true;
    this.#intake.forget(connection.session);
    this.#counters.own[C.closed_connections]++;
  }

  #closeIdle(): void {
    if (this.#settings.idleTimeoutS === 0) return;
    const before = Math.floor(Date.now() / 1000) - this.#settings.idleTimeoutS;
    for (const { session, socket } of this.#open.values()) {
      if (session.lastCommandAt >= before) continue;
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
