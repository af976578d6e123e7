// The control socket of a daemon: a Unix socket for `zcache ctl`, `stats` and `top`, which read and
// set knobs by name. Access is by file permission: the socket belongs to the daemon's user and has
// mode 0600 by default.
//
//   ControlServer   listens and answers; at most 16 clients, one request of a client at a time
//   askControl      sends one request, for commands
import { lstatSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ZcacheError } from "../base/errors.ts";
import { isWritable, type Knob, useKnob } from "../base/knob.ts";
import { InternalErrors } from "../node/internal_errors.ts";
import { ConnectionLimit } from "../node/net/connection_limit.ts";
import { listen } from "../node/net/listening.ts";
import {
  type ControlReply,
  type ControlRequest,
  controlLine,
  LINE_BYTES_MAX,
  parseControlReply,
  parseControlRequest,
} from "./control_protocol.ts";

export interface ControlOptions {
  readonly path: string;
  readonly knobs: readonly Knob[];
  stats(): Readonly<Record<string, unknown>>;
  /** The state for `zcache top`; empty if omitted. */
  state?(): object;
  /** The file mode of the socket (default 0600). */
  readonly mode?: number;
  /** Receives unexpected errors; each ends one request. */
  readonly errors?: InternalErrors;
  /** Milliseconds in which a client must complete a line that it has begun (default 10,000). */
  readonly lineMs?: number;
  /** Milliseconds after which a client that neither sends nor reads is closed (default 60,000). */
  readonly idleMs?: number;
}

/** One client more closes the one that has been idle longest. */
const CLIENTS_MAX = 16;
const IDLE_MS = 60_000;
const LINE_MS = 10_000;
const UNIT = "control socket";

export class ControlServer {
  readonly #options: ControlOptions;
  readonly #errors: InternalErrors;
  readonly #listener: Server;
  readonly #clients = new ConnectionLimit(CLIENTS_MAX);

  private constructor(options: ControlOptions) {
    this.#options = options;
    this.#errors = options.errors ?? new InternalErrors();
    this.#listener = createServer({ allowHalfOpen: true }, (socket) => {
      this.#errors.run(`${UNIT}: a connection`, () => this.#accept(socket));
    });
  }

  /** @throws ZcacheError ERR_IO, ERR_OPTION: it can't listen on the path, with the reason */
  static async start(options: ControlOptions): Promise<ControlServer> {
    const server = new ControlServer(options);
    const { path, mode = 0o600 } = options;
    await listen(server.#listener, { path, mode }, UNIT, server.#errors);
    return server;
  }

  get path(): string {
    return this.#options.path;
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#listener.close(() => resolve()));
    this.#clients.closeAll();
    await closed;
  }

  #accept(socket: Socket): void {
    socket.on("error", () => {});
    if (!this.#clients.add(socket)) return;
    const { idleMs = IDLE_MS, lineMs = LINE_MS } = this.#options;
    const client = new Client(socket, lineMs, async (line) => {
      this.#clients.begin(socket);
      const reply = await this.#reply(line);
      this.#clients.end(socket);
      return reply;
    });
    // A client that waits for a command to end is not idle.
    socket.setTimeout(idleMs, () => client.isAnswering || socket.destroy());
    socket.setEncoding("utf8");
    socket.on("data", (piece: string) => client.take(piece));
  }

  async #reply(line: string): Promise<string> {
    try {
      return controlLine(await this.#answer(line));
    } catch (error) {
      this.#errors.report(`${UNIT}: a request`, error);
      const message = "internal error of the daemon; see its log";
      return controlLine({ error: message, code: "ERR_INTERNAL" });
    }
  }

  async #answer(line: string): Promise<ControlReply> {
    try {
      const request = parseControlRequest(line);
      if (request === null) throw new ZcacheError("ERR_OPTION", "this is not a valid request");
      return { ok: await this.#do(request) };
    } catch (error) {
      if (!(error instanceof ZcacheError)) throw error;
      return { error: error.message, code: error.code };
    }
  }

  async #do(request: ControlRequest): Promise<Record<string, unknown>> {
    if ("stats" in request) return { ...this.#options.stats() };
    if ("state" in request) return { ...this.#options.state?.() };
    if ("list" in request) {
      const all = this.#options.knobs.map((knob) => {
        const { name, describe } = knob;
        return [name, { value: knob.get(), describe, writable: isWritable(knob) }] as const;
      });
      return Object.fromEntries(all);
    }
    if ("get" in request) {
      return Object.fromEntries(request.get.map((name) => [name, this.#knob(name).get()]));
    }
    const values: Record<string, string> = {};
    for (const [name, text] of Object.entries(request.set)) {
      values[name] = await useKnob(this.#knob(name), text);
    }
    return values;
  }

  #knob(name: string): Knob {
    const found = this.#options.knobs.find((knob) => knob.name === name);
    if (found !== undefined) return found;
    const all = this.#options.knobs.map((knob) => knob.name).join(", ");
    throw new ZcacheError("ERR_OPTION", `"${name}" does not exist; known are ${all}`);
  }
}

/** One client, whose requests are answered one by one and at the pace at which it reads. */
class Client {
  readonly #socket: Socket;
  readonly #lineMs: number;
  readonly #replyTo: (line: string) => Promise<string>;
  #text = "";
  /** Whether a request is being answered or its reply is still to be sent. */
  #isWorking = false;
  #isAnswering = false;
  /** Whether the client has ended its side; it still reads replies. */
  #isEnded = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(socket: Socket, lineMs: number, replyTo: (line: string) => Promise<string>) {
    this.#socket = socket;
    this.#lineMs = lineMs;
    this.#replyTo = replyTo;
    socket.once("close", () => clearTimeout(this.#timer));
    socket.on("drain", () => this.#resume());
    socket.once("end", () => {
      this.#isEnded = true;
      if (!this.#isWorking) this.#work();
    });
  }

  /** Whether a reply is being made. */
  get isAnswering(): boolean {
    return this.#isAnswering;
  }

  take(piece: string): void {
    this.#text += piece;
    if (!this.#isWorking) this.#work();
  }

  /** Answers one line. Other clients get a turn before the next line. */
  #work(): void {
    const socket = this.#socket;
    if (socket.destroyed) return;
    const end = this.#text.indexOf("\n");
    if (end < 0) {
      if (this.#isEnded) socket.end();
      else this.#wait();
      return;
    }
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#isWorking = true;
    socket.pause();
    const line = this.#text.slice(0, end);
    this.#text = this.#text.slice(end + 1);
    if (line.length > LINE_BYTES_MAX) socket.destroy();
    else void this.#answer(line);
  }

  async #answer(line: string): Promise<void> {
    this.#isAnswering = true;
    const reply = await this.#replyTo(line);
    this.#isAnswering = false;
    if (this.#socket.destroyed) return;
    // A reply that can't be sent at once delays the client's next line.
    if (this.#socket.write(reply)) setImmediate(() => this.#resume());
  }

  #resume(): void {
    if (!this.#isWorking) return;
    this.#isWorking = false;
    this.#work();
  }

  /** Waits for the rest of a line, whose length and time are limited. */
  #wait(): void {
    this.#socket.resume();
    if (this.#text.length > LINE_BYTES_MAX) this.#socket.destroy();
    else if (this.#text !== "") {
      this.#timer ??= setTimeout(() => this.#socket.destroy(), this.#lineMs).unref();
    }
  }
}

/** Why a connection failed, and what to do. */
function reasonOf({ code, message }: NodeJS.ErrnoException, path: string): string {
  const start = "start one (`zcache serve`), or name its control socket with --socket";
  if (code === "ENOENT") return `no daemon listens there; ${start}`;
  if (code === "ECONNREFUSED" && lstatSync(path, { throwIfNoEntry: false })?.isSocket()) {
    return `no daemon listens there any more; ${start}`;
  }
  if (code === "EACCES") return "permission denied: run this as the user of the daemon, or as root";
  if (code === "ENOTDIR") return `a part of this path is not a folder; ${start}`;
  if (code === "ENOTSOCK" || code === "ECONNREFUSED") return `this is not a socket; ${start}`;
  if (code === "EAGAIN") return "the daemon has too many clients; try again";
  return message;
}

/** The default path of the control socket, for daemons and clients: one per user. */
export function defaultControlPath(): string {
  const folder = process.env["XDG_RUNTIME_DIR"] ?? tmpdir();
  return join(folder, `zcache-${process.getuid?.() ?? 0}.ctl`);
}

/** How long a client waits for its reply. */
const REPLY_MS = 30_000;

/**
 * Sends one request to the daemon and returns its reply.
 * @param replyMs how long to wait for it
 * @throws ZcacheError ERR_IO if the daemon does not answer; a refusal of the daemon with its code
 */
export function askControl(
  path: string,
  request: ControlRequest,
  replyMs: number = REPLY_MS,
): Promise<Readonly<Record<string, unknown>>> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    const fail = (why: string, cause?: unknown) => {
      socket.destroy();
      reject(new ZcacheError("ERR_IO", `${path}: ${why}`, { cause }));
    };
    socket.setTimeout(replyMs, () => fail(`no reply within ${replyMs / 1000} seconds`));
    socket.on("error", (cause: NodeJS.ErrnoException) => fail(reasonOf(cause, path), cause));
    socket.on("end", () => fail("the daemon closed the connection"));
    socket.setEncoding("utf8");
    let text = "";
    socket.on("data", (piece: string) => {
      text += piece;
      if (!text.endsWith("\n")) return;
      socket.destroy();
      const reply = parseControlReply(text);
      if (reply === null) fail("the answer is not a reply of a zcache daemon");
      else if ("ok" in reply) resolve(reply.ok);
      else reject(new ZcacheError(reply.code as ZcacheError["code"], reply.error));
    });
    socket.on("connect", () => socket.write(controlLine(request)));
  });
}
