// One connection to one server. It neither reconnects nor repeats anything by itself: what was sent
// and not answered when it ends has an unknown outcome, which the caller has to know of.
//
// The commands of a batch go out in one write. A server that does not answer in time gets no
// further commands: the connection ends, because the answers could not be told from later ones.
import { isIP } from "node:net";
import type { Argument, EngineClient, EnginePackage, Reply } from "./engine_package.ts";

export type Command = readonly [name: string, ...args: Argument[]];

/** How servers are reached; the password is never a part of a message. */
export interface ConnectionSettings {
  readonly username: string | undefined;
  readonly password: string | undefined;
  /** Options of `tls.connect`; undefined: no TLS. */
  readonly tls: Readonly<Record<string, unknown>> | undefined;
}

/** A command was not answered; the server may have executed it. */
export class ConnectionFailure extends Error {
  constructor(message: string) {
    super(message);
    this.name = "ConnectionFailure";
  }
}

export class Connection {
  readonly address: string;
  readonly #package: EnginePackage;
  readonly #client: EngineClient;
  #isOpen = false;
  #onEnd: (() => void)[] = [];
  /** Why the connection has ended. */
  #reason: string | undefined;

  private constructor(engine: EnginePackage, address: string, settings: ConnectionSettings) {
    const { host, port } = splitAddress(address);
    this.address = address;
    this.#package = engine;
    this.#client = new engine.Redis({
      ...{ host, port, lazyConnect: true, retryStrategy: null, maxRetriesPerRequest: null },
      ...{ enableOfflineQueue: false, enableReadyCheck: false, disableClientInfo: true },
      ...{ autoResendUnfulfilledCommands: false, autoResubscribe: false, keepAlive: 10_000 },
      // The timer of `open` ends an attempt.
      connectTimeout: 0,
      // From version 6 on the package speaks RESP3, but does not pass its invalidations on.
      protocol: 2,
      ...(settings.tls !== undefined && { tls: tlsOptions(host, settings.tls) }),
    });
    // The promise of `connect`, and the commands in flight, are rejected too, without the reason.
    this.#client.on("error", ((error: unknown) => {
      this.#reason ??= messageOf(error);
    }) as (...args: readonly never[]) => void);
    this.#client.on("end", () => this.#ended());
  }

  /** @throws ConnectionFailure with the reason */
  static async open(
    engine: EnginePackage,
    address: string,
    settings: ConnectionSettings,
    timeoutMs: number,
  ): Promise<Connection> {
    const connection = new Connection(engine, address, settings);
    try {
      await within(connection.#client.connect(), timeoutMs);
      connection.#isOpen = true;
      await connection.#authenticate(settings, timeoutMs);
      return connection;
    } catch (error) {
      connection.close();
      if (error instanceof ConnectionFailure) throw error;
      const reason = connection.#reason ?? messageOf(error);
      throw new ConnectionFailure(`${address}: ${reason}`);
    }
  }

  async #authenticate(settings: ConnectionSettings, timeoutMs: number): Promise<void> {
    const { username, password } = settings;
    if (password === undefined) return;
    const words = username === undefined ? [password] : [username, password];
    const [reply] = await this.send([["auth", ...words]], timeoutMs);
    if (reply instanceof Error) {
      throw new ConnectionFailure(`${this.address} refuses the login: ${reply.message}`);
    }
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Calls `listener` when the connection ends; at once if it has ended. */
  onEnd(listener: () => void): void {
    if (this.#isOpen) this.#onEnd.push(listener);
    else listener();
  }

  /** Calls `listener` with the messages of channels that this connection is subscribed to. */
  onMessage(listener: (channel: Buffer, message: unknown) => void): void {
    this.#client.on("messageBuffer", listener as (...args: readonly never[]) => void);
  }

  /**
   * Sends commands, and waits for their answers.
   * @returns one answer for each; errors of the server are among them, without the command
   * @throws ConnectionFailure: the connection has ended, or did not answer in time and is closed
   */
  async send(commands: readonly Command[], timeoutMs: number): Promise<readonly Reply[]> {
    if (!this.#isOpen) throw new ConnectionFailure(`${this.address}: not connected`);
    const { stream } = this.#client;
    stream?.cork();
    const replies = commands.map(([name, ...args]) => {
      const command = new this.#package.Command(name, args, { replyEncoding: null });
      const reply = command.promise.catch(withoutCommand);
      this.#client.sendCommand(command);
      return reply;
    });
    stream?.uncork();
    const timer = setTimeout(() => {
      this.#reason = `no answer within ${Math.round(timeoutMs)} ms`;
      this.close();
    }, timeoutMs);
    try {
      return (await Promise.all(replies)) as Reply[];
    } catch (error) {
      throw new ConnectionFailure(`${this.address}: ${this.#reason ?? messageOf(error)}`);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Ends the connection; commands in flight fail. */
  close(): void {
    this.#client.disconnect();
    this.#ended();
  }

  #ended(): void {
    this.#isOpen = false;
    const listeners = this.#onEnd;
    this.#onEnd = [];
    for (const listener of listeners) listener();
  }
}

/**
 * An error of the server as a value; others are thrown. The package's errors carry the command with
 * all of its words, a password among them: they are not passed on.
 */
function withoutCommand(error: unknown): Error {
  const { name, message } = error as Error;
  if (name === "ReplyError") return new Error(message);
  throw new Error(message);
}

function messageOf(error: unknown): string {
  const { message, code } = error as NodeJS.ErrnoException;
  return message || String(code ?? error);
}

/** An address of digits is no name that a server could be told. */
function tlsOptions(host: string, tls: Readonly<Record<string, unknown>>) {
  return isIP(host) === 0 ? { servername: host, ...tls } : tls;
}

/** @throws Error if the promise takes longer */
async function within<T>(promise: Promise<T>, timeoutMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const message = `no connection within ${Math.round(timeoutMs)} ms`;
    timer = setTimeout(() => reject(new Error(message)), timeoutMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
    promise.catch(() => undefined);
  }
}

/** The parts of "host:port"; a host that is an IPv6 address may stand in brackets. */
export function splitAddress(address: string): { host: string; port: number } {
  const colon = address.lastIndexOf(":");
  const host = address.slice(0, colon).replace(/^\[(.*)\]$/, "$1");
  return { host, port: Number(address.slice(colon + 1)) };
}
