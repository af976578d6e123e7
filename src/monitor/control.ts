// The control socket of a daemon: what can be looked at and set while it runs, by name. Only who
// may open the socket's file may ask: it belongs to the daemon's user, with mode 0600 if nothing
// else is said.
import { lstatSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ZcacheError } from "../base/errors.ts";
import type { Knob } from "../base/knob.ts";
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
  /** What `zcache top` shows; nothing if it is left out. */
  state?(): object;
  /** Who may open the socket (default 0600). */
  readonly mode?: number;
  /** Told of what nobody expected; it ends the request in which it happens. */
  readonly errors?: InternalErrors;
  /** A client that has begun a line must have ended it by then, in ms (default 10,000). */
  readonly lineMs?: number;
  /** A client that says nothing, or takes nothing, for so long is gone (default 60,000). */
  readonly idleMs?: number;
}

/** More than that, and the one that has been idle longest gives way. */
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

  /** @throws ZcacheError ERR_IO, ERR_OPTION: it can't listen there, and why */
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
    socket.setTimeout(idleMs, () => socket.destroy());
    const client = new Client(socket, lineMs, (line) => {
      this.#clients.begin(socket);
      const reply = this.#reply(line);
      this.#clients.end(socket);
      return reply;
    });
    socket.setEncoding("utf8");
    socket.on("data", (piece: string) => client.take(piece));
  }

  #reply(line: string): string {
    try {
      return controlLine(this.#answer(line));
    } catch (error) {
      this.#errors.report(`${UNIT}: a request`, error);
      const message = "an internal error of the daemon; its log has more";
      return controlLine({ error: message, code: "ERR_INTERNAL" });
    }
  }

  #answer(line: string): ControlReply {
    try {
      const request = parseControlRequest(line);
      if (request === null) throw new ZcacheError("ERR_OPTION", "this is no request");
      return { ok: this.#do(request) };
    } catch (error) {
      if (!(error instanceof ZcacheError)) throw error;
      return { error: error.message, code: error.code };
    }
  }

  #do(request: ControlRequest): Record<string, unknown> {
    if ("stats" in request) return { ...this.#options.stats() };
    if ("state" in request) return { ...this.#options.state?.() };
    if ("list" in request) {
      const all = this.#options.knobs.map((knob) => {
        const { name, describe } = knob;
        return [name, { value: knob.get(), describe, writable: knob.set !== undefined }] as const;
      });
      return Object.fromEntries(all);
    }
    if ("get" in request) {
      return Object.fromEntries(request.get.map((name) => [name, this.#knob(name).get()]));
    }
    const entries = Object.entries(request.set).map(([name, text]) => {
      const knob = this.#knob(name);
      if (knob.set === undefined) throw new ZcacheError("ERR_OPTION", `${name} can't be set`);
      knob.set(text);
      return [name, knob.get()] as const;
    });
    return Object.fromEntries(entries);
  }

  #knob(name: string): Knob {
    const found = this.#options.knobs.find((knob) => knob.name === name);
    if (found !== undefined) return found;
    const all = this.#options.knobs.map((knob) => knob.name).join(", ");
    throw new ZcacheError("ERR_OPTION", `there is no "${name}"; there are ${all}`);
  }
}

/** The lines of one client, answered one by one, and as fast as it reads. */
class Client {
  readonly #socket: Socket;
  readonly #lineMs: number;
  readonly #replyTo: (line: string) => string;
  #text = "";
  /** A line is being answered, or its reply is not yet taken. */
  #isWorking = false;
  /** It sends nothing more, and takes what it has asked for. */
  #isEnded = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(socket: Socket, lineMs: number, replyTo: (line: string) => string) {
    this.#socket = socket;
    this.#lineMs = lineMs;
    this.#replyTo = replyTo;
    socket.once("close", () => clearTimeout(this.#timer));
    socket.on("drain", () => this.#goOn());
    socket.once("end", () => {
      this.#isEnded = true;
      if (!this.#isWorking) this.#work();
    });
  }

  take(piece: string): void {
    this.#text += piece;
    if (!this.#isWorking) this.#work();
  }

  /** Answers one line; others have their turn before the next. */
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
    // If it does not take the reply at once, its next line waits for that.
    else if (socket.write(this.#replyTo(line))) setImmediate(() => this.#goOn());
  }

  #goOn(): void {
    if (!this.#isWorking) return;
    this.#isWorking = false;
    this.#work();
  }

  /** For the rest of a line, which may not be long, and not be long in coming. */
  #wait(): void {
    this.#socket.resume();
    if (this.#text.length > LINE_BYTES_MAX) this.#socket.destroy();
    else if (this.#text !== "") {
      this.#timer ??= setTimeout(() => this.#socket.destroy(), this.#lineMs).unref();
    }
  }
}

/** Why nobody answers, and what to do. */
function reasonOf({ code, message }: NodeJS.ErrnoException, path: string): string {
  const start = "start one (`zcache serve`), or name its control socket with --socket";
  if (code === "ENOENT") return `no daemon listens there; ${start}`;
  if (code === "ECONNREFUSED" && lstatSync(path, { throwIfNoEntry: false })?.isSocket()) {
    return `no daemon listens there any more; ${start}`;
  }
  if (code === "EACCES") return "permission denied: run this as the user of the daemon, or as root";
  if (code === "ENOTDIR") return `a part of this path is no folder; ${start}`;
  if (code === "ENOTSOCK" || code === "ECONNREFUSED") return `this is no socket; ${start}`;
  if (code === "EAGAIN") return "the daemon has too many clients just now; try again";
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
 * Asks the daemon behind a control socket.
 * @throws ZcacheError ERR_IO if nobody answers there; what the daemon refused, with its code
 */
export function askControl(
  path: string,
  request: ControlRequest,
): Promise<Readonly<Record<string, unknown>>> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    const fail = (why: string, cause?: unknown) => {
      socket.destroy();
      reject(new ZcacheError("ERR_IO", `${path}: ${why}`, { cause }));
    };
    socket.setTimeout(REPLY_MS, () => fail("no reply"));
    socket.on("error", (cause: NodeJS.ErrnoException) => fail(reasonOf(cause, path), cause));
    socket.on("end", () => fail("the daemon has ended the connection"));
    socket.setEncoding("utf8");
    let text = "";
    socket.on("data", (piece: string) => {
      text += piece;
      if (!text.endsWith("\n")) return;
      socket.destroy();
      const reply = parseControlReply(text);
      if (reply === null) fail("this is no reply");
      else if ("ok" in reply) resolve(reply.ok);
      else reject(new ZcacheError(reply.code as ZcacheError["code"], reply.error));
    });
    socket.on("connect", () => socket.write(controlLine(request)));
  });
}
