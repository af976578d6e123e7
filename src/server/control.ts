// The control socket of a daemon: what can be looked at and set while it runs, by name. Only who
// may open the socket's file may ask: it belongs to the daemon's user, with mode 0600 if nothing
// else is said.
import { chmodSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { ZcacheError } from "../base/errors.ts";
import {
  type ControlReply,
  type ControlRequest,
  controlLine,
  LINE_BYTES_MAX,
  parseControlReply,
  parseControlRequest,
} from "../wire/control/control.ts";
import { removeStale } from "./stale_socket.ts";

/** Something that can be set, or only looked at. */
export interface Knob {
  readonly name: string;
  readonly describe: string;
  get(): string;
  /** @throws ZcacheError ERR_OPTION that says what is allowed */
  set?(text: string): void;
}

export interface ControlOptions {
  readonly path: string;
  readonly knobs: readonly Knob[];
  stats(): Readonly<Record<string, unknown>>;
  /** What `zcache top` shows; nothing if it is left out. */
  state?(): object;
  /** Who may open the socket (default 0600). */
  readonly mode?: number;
}

const CLIENTS_MAX = 16;
/** Replies that wait for a client: some of the longest, which are a few tens of kilobytes. */
const REPLIES_BYTES_MAX = 256 * 1024;
/** A client that says nothing for so long is gone. */
const IDLE_MS = 60_000;

export class ControlServer {
  readonly #options: ControlOptions;
  readonly #listener: Server;
  readonly #clients = new Set<Socket>();

  private constructor(options: ControlOptions) {
    this.#options = options;
    this.#listener = createServer((socket) => this.#accept(socket));
    this.#listener.maxConnections = CLIENTS_MAX;
  }

  /** @throws ZcacheError ERR_IO if it can't listen there */
  static async start(options: ControlOptions): Promise<ControlServer> {
    const server = new ControlServer(options);
    await removeStale(options.path);
    // Made closed to all others, and opened as far as is wanted: in between nobody slips in.
    const mask = process.umask(0o177);
    const listening = new Promise<void>((resolve, reject) => {
      server.#listener.once("error", (cause) => {
        const message = `can't listen on ${options.path}: ${cause.message}`;
        reject(new ZcacheError("ERR_IO", message, { cause }));
      });
      server.#listener.listen(options.path, resolve);
    });
    // The file is there when `listen` returns.
    process.umask(mask);
    await listening;
    chmodSync(options.path, options.mode ?? 0o600);
    return server;
  }

  get path(): string {
    return this.#options.path;
  }

  async close(): Promise<void> {
    for (const client of this.#clients) client.destroy();
    await new Promise<void>((resolve) => this.#listener.close(() => resolve()));
  }

  #accept(socket: Socket): void {
    this.#clients.add(socket);
    socket.setTimeout(IDLE_MS, () => socket.destroy());
    socket.on("error", () => {});
    socket.on("close", () => this.#clients.delete(socket));
    let text = "";
    socket.setEncoding("utf8");
    socket.on("data", (piece: string) => {
      text += piece;
      for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
        const line = text.slice(0, end);
        text = text.slice(end + 1);
        // Who does not read its replies is not served.
        socket.write(controlLine(this.#answer(line)));
        if (socket.writableLength > REPLIES_BYTES_MAX) socket.destroy();
      }
      if (text.length > LINE_BYTES_MAX) socket.destroy();
    });
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
    socket.on("error", (cause) => fail(cause.message, cause));
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
