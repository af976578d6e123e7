// The web server of the daemon: the page, its figures as JSON, and Prometheus's metrics. It only
// looks. What it can change are knobs, by POST, and only where the operator has given it a token.
//
// Nothing is computed unless somebody asks, and nobody gets more than the daemon can spare: few
// connections, short requests, and each costly answer is computed once for all who ask for it.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { ZcacheError } from "../../base/errors.ts";
import type { Knob } from "../../base/knob.ts";
import { InternalErrors } from "../../node/internal_errors.ts";
import { ConnectionLimit } from "../../node/net/connection_limit.ts";
import { listen } from "../../node/net/listening.ts";
import type { Monitor } from "../monitor.ts";
import { Api } from "./api.ts";
import { type Asset, readAssets } from "./assets.ts";
import { Guard, type Refusal } from "./guard.ts";
import { Metrics } from "./metrics.ts";

export interface WebOptions {
  /** Where to listen (default 127.0.0.1). */
  readonly host?: string;
  /** 0: any free one. */
  readonly port: number;
  readonly monitors: readonly Monitor[];
  /** Names under which browsers may come, `*` for any. By address and as localhost they may. */
  readonly hostnames?: readonly string[];
  /** Who knows it may set knobs; without it, nothing can be set. At least 16 characters. */
  readonly token?: string;
  readonly knobs?: readonly Knob[];
  /** Version of the program, for the page. */
  readonly version?: string;
  /** Told of what nobody expected; it ends the request in which it happens. */
  readonly errors?: InternalErrors;
  /** Time limits of connections, for tests; see LIMITS. */
  readonly limits?: Partial<typeof LIMITS>;
}

const DEFAULT_HOST = "127.0.0.1";
/**
 * A browser opens six, a scraper one. More than that, and the one that has been idle longest gives
 * way.
 */
const CONNECTIONS_MAX = 64;
/** Requests that a client may send before it has the answers; browsers send one. */
const PIPELINED_MAX = 8;
const HEADER_BYTES_MAX = 8 * 1024;
const LIMITS = {
  headersMs: 5000,
  requestMs: 10_000,
  keepAliveMs: 15_000,
  /** A client that takes nothing of an answer for so long is gone; a what-if may take that long. */
  idleMs: 90_000,
};
/** How often Node looks for connections beyond the first two limits. */
const LOOK_MS = 1000;
const BODY_BYTES_MAX = 4096;
const UNIT = "web";

const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src data:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");
/** With every answer. There is no CORS header: no other site's page reads anything. */
const HEADERS = {
  "content-security-policy": POLICY,
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
};

export class WebServer {
  readonly #http: Server;
  readonly #guard: Guard;
  readonly #api: Api;
  readonly #metrics: Metrics;
  readonly #assets: ReadonlyMap<string, Asset>;
  readonly #monitors: readonly Monitor[];
  readonly #errors: InternalErrors;
  readonly #connections = new ConnectionLimit(CONNECTIONS_MAX);
  /** Of connections with requests that are not answered yet: how many. */
  readonly #pending = new WeakMap<Socket, number>();

  private constructor(options: WebOptions) {
    const { monitors, token, hostnames = [], version = "", knobs = [] } = options;
    checkNames(monitors);
    this.#monitors = monitors;
    this.#errors = options.errors ?? new InternalErrors();
    this.#guard = new Guard(hostnames, token);
    const errors = this.#errors;
    this.#api = new Api({ monitors, knobs, version, errors, mayChange: this.#guard.mayChange });
    this.#metrics = new Metrics(() => this.#api.state());
    this.#assets = readAssets();
    const { headersMs, requestMs, keepAliveMs, idleMs } = { ...LIMITS, ...options.limits };
    this.#http = createServer(
      {
        maxHeaderSize: HEADER_BYTES_MAX,
        headersTimeout: headersMs,
        requestTimeout: requestMs,
        keepAliveTimeout: keepAliveMs,
        connectionsCheckingInterval: Math.min(LOOK_MS, headersMs),
      },
      (request, response) => this.#take(request, response),
    );
    this.#http.setTimeout(idleMs, (socket) => socket.destroy());
    this.#http.on("connection", (socket) => this.#connections.add(socket));
    // Whatever has no answer of its own: the connection is of no use any more.
    this.#http.on("upgrade", (_request, socket) => socket.destroy());
    this.#http.on("connect", (_request, socket) => socket.destroy());
  }

  /** @throws ZcacheError ERR_OPTION for options that can't be, ERR_IO: it can't listen there */
  static async start(options: WebOptions): Promise<WebServer> {
    const { host = DEFAULT_HOST, port } = options;
    if (!(Number.isInteger(port) && port >= 0 && port <= 65_535)) {
      throw new ZcacheError("ERR_OPTION", `port ${port}: allowed are 0 to 65535`);
    }
    const server = new WebServer(options);
    await listen(server.#http, { host, port }, UNIT, server.#errors);
    return server;
  }

  /** Where browsers find it: `http://127.0.0.1:8080/`. */
  get url(): string {
    const { address, family, port } = this.#http.address() as AddressInfo;
    return `http://${family === "IPv6" ? `[${address}]` : address}:${port}/`;
  }

  /** Ends all connections, and what is under way. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#http.close(() => resolve()));
    this.#connections.closeAll();
    this.#http.closeAllConnections();
    await Promise.all([closed, ...this.#monitors.map((one) => one.close())]);
  }

  /** Begins to answer. Whatever happens there ends this request, and nothing else. */
  #take(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request;
    request.on("error", () => {});
    response.on("error", () => {});
    const pending = (this.#pending.get(socket) ?? 0) + 1;
    this.#pending.set(socket, pending);
    if (pending > PIPELINED_MAX) socket.destroy();
    // Of a request that comes behind others, Node has read what it asks for before they are done.
    if (socket.destroyed) return;
    this.#connections.begin(socket);
    this.#answer(request, response)
      .catch((error: unknown) => this.#fail(response, error))
      .finally(() => this.#isAnswered(socket));
  }

  /** All of the answer is made, though the client may not have taken it yet. */
  #isAnswered(socket: Socket): void {
    const pending = (this.#pending.get(socket) ?? 1) - 1;
    this.#pending.set(socket, pending);
    if (pending === 0) this.#connections.end(socket);
  }

  #fail(response: ServerResponse, error: unknown): void {
    this.#errors.report(`${UNIT}: a request`, error);
    if (response.headersSent) {
      response.destroy();
      return;
    }
    const text = "an internal error of the daemon; its log has more";
    this.#errors.run(`${UNIT}: the answer to a request`, () =>
      refuse(response, { status: 500, error: text }),
    );
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
    const refusal = this.#guard.refusal(request);
    if (refusal !== undefined) return refuse(response, refusal);
    const url = urlOf(request);
    if (url === undefined) return refuse(response, { status: 400, error: "this is no address" });
    try {
      await this.#route(request, response, url);
    } catch (error) {
      // A thread that can't start or fails is nothing that a client can do about.
      if (!(error instanceof ZcacheError) || error.code === "ERR_WORKER") throw error;
      refuse(response, { status: error.code === "ERR_OPTION" ? 400 : 503, error: error.message });
    }
  }

  async #route(request: IncomingMessage, response: ServerResponse, url: URL): Promise<void> {
    const isKnobs = url.pathname === "/api/knobs" && this.#guard.mayChange;
    if (isKnobs) {
      const refusal = this.#guard.changeRefusal(request);
      if (refusal !== undefined) return refuse(response, refusal);
      if (request.method === "POST") return await this.#setKnob(request, response);
    }
    if (request.method !== "GET" && request.method !== "HEAD") {
      const allow = isKnobs ? "GET, HEAD, POST" : "GET, HEAD";
      const error = `${request.method} is not allowed here`;
      return refuse(response, { status: 405, error, headers: { allow } });
    }
    if (isKnobs) return json(response, this.#api.knobs());
    const asset = this.#assets.get(url.pathname);
    if (asset !== undefined) return sendAsset(request, response, asset);
    if (url.pathname === "/metrics") {
      const text = await this.#metrics.text();
      response.setHeader("content-type", this.#metrics.contentType);
      response.setHeader("cache-control", "no-store");
      response.end(text);
      return;
    }
    const answer = await this.#api.get(url);
    if (answer === undefined) return refuse(response, { status: 404, error: "not found" });
    if ("refusal" in answer) return refuse(response, answer.refusal);
    json(response, answer.value);
  }

  async #setKnob(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // A form of another site can't send this type without asking first.
    if (!/^application\/json\b/.test(request.headers["content-type"] ?? "")) {
      return refuse(response, { status: 415, error: "send JSON" });
    }
    const body = await readBody(request);
    if (body === undefined) {
      response.setHeader("connection", "close");
      return refuse(response, { status: 413, error: `at most ${BODY_BYTES_MAX} bytes` });
    }
    json(response, this.#api.setKnob(body));
  }
}

/** @throws ZcacheError ERR_OPTION for names that are no names, or stand there twice */
function checkNames(monitors: readonly Monitor[]): void {
  const names = monitors.map((one) => one.name);
  const wrong = names.find((name) => !/^[a-z][a-z0-9_.-]{0,63}$/i.test(name));
  if (wrong !== undefined) throw new ZcacheError("ERR_OPTION", `service "${wrong}": no such name`);
  const twice = names.find((name, nth) => names.indexOf(name) !== nth);
  if (twice !== undefined) throw new ZcacheError("ERR_OPTION", `service "${twice}": given twice`);
}

function urlOf(request: IncomingMessage): URL | undefined {
  const path = request.url ?? "";
  if (!path.startsWith("/")) return undefined;
  // Slashes at the beginning would make a host of what follows.
  return URL.canParse(`http://localhost${path}`) ? new URL(`http://localhost${path}`) : undefined;
}

function refuse(response: ServerResponse, { status, error, headers = {} }: Refusal): void {
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
  response.statusCode = status;
  json(response, { error });
}

function json(response: ServerResponse, value: unknown): void {
  response.setHeader("content-type", "application/json; charset=utf-8");
  response.setHeader("cache-control", "no-store");
  response.end(JSON.stringify(value));
}

function sendAsset(request: IncomingMessage, response: ServerResponse, asset: Asset): void {
  response.setHeader("etag", asset.etag);
  response.setHeader("cache-control", "no-cache");
  if (request.headers["if-none-match"] === asset.etag) {
    response.statusCode = 304;
    response.end();
    return;
  }
  response.setHeader("content-type", asset.type);
  response.end(asset.body);
}

/** The text that a client sends, or undefined if it is too long. */
async function readBody(request: IncomingMessage): Promise<string | undefined> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const piece of request) {
      bytes += (piece as Buffer).length;
      if (bytes > BODY_BYTES_MAX) return undefined;
      pieces.push(piece as Buffer);
    }
  } catch {
    throw new ZcacheError("ERR_OPTION", "the request has ended early");
  }
  return Buffer.concat(pieces).toString("utf8");
}
