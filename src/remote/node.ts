// One node: its connections, and figures of what it did.
//
// Reads and writes have a connection each, because a WAIT for replicas delays all later answers of
// its connection. A connection is opened at its first use. After a failure the next attempt waits
// for a moment, during which requests fail at once.
import type { RemoteNodeFigures } from "../backing/remote_contract.ts";
import {
  type Command,
  Connection,
  ConnectionFailure,
  type ConnectionSettings,
} from "./connection.ts";
import type { EnginePackage, Reply } from "./engine_package.ts";

export type Purpose = "read" | "write";

/** Prepares a connection before it is used. @throws ConnectionFailure */
export type PrepareConnection = (connection: Connection) => Promise<void>;

/** Pauses after failed attempts: the first one, doubled each time up to the last one. */
const PAUSE_MS = 50;
const PAUSE_MS_MAX = 1000;
/** Times are averaged over one to two of these. */
const WINDOW_MS = 2500;

interface Window {
  startMs: number;
  sumMs: number;
  count: number;
}

export class EngineNode {
  readonly address: string;
  role: "master" | "replica" | "unknown" = "unknown";
  usedBytes: number | undefined;
  limitBytes: number | undefined;
  reconnects = 0;
  readonly #engine: EnginePackage;
  readonly #settings: ConnectionSettings;
  readonly #onWriter: PrepareConnection;
  readonly #connections = new Map<Purpose, Connection>();
  readonly #opening = new Map<Purpose, Promise<Connection>>();
  #requests = 0;
  #failures = 0;
  #inFlight = 0;
  #attempts = 0;
  #pausedUntilMs = 0;
  #lastFailure = "";
  #isClosed = false;
  #window: Window = { startMs: 0, sumMs: 0, count: 0 };
  #previous: Window = { startMs: 0, sumMs: 0, count: 0 };

  constructor(
    engine: EnginePackage,
    address: string,
    settings: ConnectionSettings,
    onWriter: PrepareConnection,
  ) {
    this.#onWriter = onWriter;
    this.#engine = engine;
    this.address = address;
    this.#settings = settings;
  }

  /** Whether the last attempt to reach the node has succeeded. */
  get isUp(): boolean {
    return this.#attempts === 0 && this.#connections.size > 0;
  }

  /** Whether the node is known to be down, and not tried at the moment. */
  get isPaused(): boolean {
    return this.#attempts > 0 && performance.now() < this.#pausedUntilMs;
  }

  /**
   * Sends a batch, over a new connection if there is none.
   * @param deadlineMs on the clock of `performance.now()`
   * @throws ConnectionFailure
   */
  async exchange(
    purpose: Purpose,
    commands: readonly Command[],
    deadlineMs: number,
  ): Promise<readonly Reply[]> {
    const startMs = performance.now();
    this.#requests += commands.length;
    this.#inFlight += commands.length;
    try {
      const connection =
        this.#connections.get(purpose) ?? (await this.#open(purpose, deadlineMs - startMs));
      const leftMs = Math.max(1, deadlineMs - performance.now());
      const replies = await connection.send(commands, leftMs);
      this.#count(performance.now() - startMs);
      return replies;
    } catch (error) {
      this.#failures += commands.length;
      this.#failed((error as Error).message);
      throw error;
    } finally {
      this.#inFlight -= commands.length;
    }
  }

  async #open(purpose: Purpose, timeoutMs: number): Promise<Connection> {
    if (this.#isClosed) throw new ConnectionFailure(`${this.address}: closed`);
    if (this.isPaused) throw new ConnectionFailure(this.#lastFailure);
    // Two batches at a time share an attempt.
    const opening = this.#opening.get(purpose) ?? this.#connect(purpose, timeoutMs);
    this.#opening.set(purpose, opening);
    try {
      return await opening;
    } finally {
      if (this.#opening.get(purpose) === opening) this.#opening.delete(purpose);
    }
  }

  async #connect(purpose: Purpose, timeoutMs: number): Promise<Connection> {
    const connection = await Connection.open(this.#engine, this.address, this.#settings, timeoutMs);
    try {
      if (purpose === "write") await this.#onWriter(connection);
    } catch (error) {
      connection.close();
      throw error;
    }
    if (this.#isClosed) {
      connection.close();
      throw new ConnectionFailure(`${this.address}: closed`);
    }
    if (this.#attempts > 0) this.reconnects++;
    this.#attempts = 0;
    this.#connections.set(purpose, connection);
    connection.onEnd(() => {
      if (this.#connections.get(purpose) === connection) this.#connections.delete(purpose);
    });
    return connection;
  }

  #failed(message: string): void {
    this.#lastFailure = message;
    if (this.isPaused) return;
    const pauseMs = Math.min(PAUSE_MS_MAX, PAUSE_MS * 2 ** this.#attempts);
    this.#attempts = Math.min(this.#attempts + 1, 16);
    this.#pausedUntilMs = performance.now() + pauseMs;
  }

  #count(tookMs: number): void {
    this.#turn();
    this.#window.sumMs += tookMs;
    this.#window.count++;
  }

  #turn(): void {
    const nowMs = performance.now();
    if (nowMs - this.#window.startMs < WINDOW_MS) return;
    const isRecent = nowMs - this.#window.startMs < 2 * WINDOW_MS;
    this.#previous = isRecent ? this.#window : { startMs: 0, sumMs: 0, count: 0 };
    this.#window = { startMs: nowMs, sumMs: 0, count: 0 };
  }

  figures(): RemoteNodeFigures {
    this.#turn();
    const count = this.#window.count + this.#previous.count;
    return {
      address: this.address,
      role: this.role,
      isUp: this.isUp,
      requests: this.#requests,
      failures: this.#failures,
      inFlight: this.#inFlight,
      latencyMs: count === 0 ? undefined : (this.#window.sumMs + this.#previous.sumMs) / count,
      usedBytes: this.usedBytes,
      limitBytes: this.limitBytes,
    };
  }

  close(): void {
    this.#isClosed = true;
    this.interrupt();
  }

  /** Ends all connections, and with them what is in flight. */
  interrupt(): void {
    for (const connection of [...this.#connections.values()]) connection.close();
  }
}
