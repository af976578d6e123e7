// The web server of the daemon: the dashboard, its figures as JSON, and metrics for Prometheus. It
// is read-only, except that knobs can be set by POST if the operator has set a token.
//
//   guard     who may ask: host names, other sites, the token
//   api       JSON below /api, with limits for costly requests
//   metrics   Prometheus metrics
//   assets    the files of the page
//
// Concurrency: runs on the daemon's main thread and computes nothing without a request. Limits: 64
// connections, 8 pipelined requests each, 8 KiB of headers, 4 KiB of body, and the times in LIMITS.
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
  /** 0: any free port. */
  readonly port: number;
  readonly monitors: readonly Monitor[];
  /** Host names allowed besides addresses and localhost; `*` allows any. */
  readonly hostnames?: readonly string[];
  /** The token for setting knobs, at least 16 characters; without it nothing can be set. */
  readonly token?: string;
  readonly knobs?: readonly Knob[];
  /** The version that the page shows. */
  readonly version?: string;
  /** Receives unexpected errors; each ends one request. */
  readonly errors?: InternalErrors;
  /** Time limits other than LIMITS, for tests. */
  readonly limits?: Partial<typeof LIMITS>;
}

const DEFAULT_HOST = "127.0.0.1";
/**
 * A browser opens six connections, a scraper one. One connection more closes the one that has been
 * idle longest.
 */
const CONNECTIONS_MAX = 64;
/** Requests that a client may send before it has read the answers; browsers send one. */
const PIPELINED_MAX = 8;
const HEADER_BYTES_MAX = 8 * 1024;
const LIMITS = {
  headersMs: 5000,
  requestMs: 10_000,
  keepAliveMs: 15_000,
  /**
   * A connection without traffic for so long is closed; a what-if comparison takes up to a minute.
   */
  idleMs: 90_000,
};
/** How often Node.js checks the first two limits. */
const CHECK_MS = 1000;
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
/** Headers of every answer. Without a CORS header, pages of other sites can't read answers. */
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
  /** The number of unanswered requests of each connection. */
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
        connectionsCheckingInterval: Math.min(CHECK_MS, headersMs),
      },
      (request, response) => this.#take(request, response),
    );
    this.#http.setTimeout(idleMs, (socket) => socket.destroy());
    this.#http.on("connection", (socket) => this.#connections.add(socket));
    // Upgrades and tunnels are not supported.
    this.#http.on("upgrade", (_request, socket) => socket.destroy());
    this.#http.on("connect", (_request, socket) => socket.destroy());
  }

  /** @throws ZcacheError ERR_OPTION for an invalid option, ERR_IO if it can't listen */
  static async start(options: WebOptions): Promise<WebServer> {
    const { host = DEFAULT_HOST, port } = options;
    if (!(Number.isInteger(port) && port >= 0 && port <= 65_535)) {
      throw new ZcacheError("ERR_OPTION", `port ${port} is not a number from 0 to 65535`);
    }
    const server = new WebServer(options);
    await listen(server.#http, { host, port }, UNIT, server.#errors);
    return server;
  }

  /** The address of the page: `http://127.0.0.1:8080/`. */
  get url(): string {
    const { address, family, port } = this.#http.address() as AddressInfo;
    return `http://${family === "IPv6" ? `[${address}]` : address}:${port}/`;
  }

  /** Ends all connections and running walks. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#http.close(() => resolve()));
    this.#connections.closeAll();
    this.#http.closeAllConnections();
    await Promise.all([closed, ...this.#monitors.map((one) => one.close())]);
  }

  /** Starts to answer a request. An error ends this request and nothing else. */
  #take(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request;
    request.on("error", () => {});
    response.on("error", () => {});
    const pending = (this.#pending.get(socket) ?? 0) + 1;
    this.#pending.set(socket, pending);
    if (pending > PIPELINED_MAX) socket.destroy();
    // Node.js reads pipelined requests before earlier ones are answered.
    if (socket.destroyed) return;
    this.#connections.begin(socket);
    this.#answer(request, response)
      .catch((error: unknown) => this.#fail(response, error))
      .finally(() => this.#isAnswered(socket));
  }

  /** The answer is complete, though the client may not have read it yet. */
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
    const text = "internal error of the daemon; see its log";
    this.#errors.run(`${UNIT}: the answer to a request`, () =>
      refuse(response, { status: 500, error: text }),
    );
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
    const refusal = this.#guard.refusal(request);
    if (refusal !== undefined) return refuse(response, refusal);
    const url = urlOf(request);
    if (url === undefined) return refuse(response, { status: 400, error: "not a valid path" });
    try {
      await this.#route(request, response, url);
    } catch (error) {
      // A failed worker thread is an internal error: the client can't do anything about it.
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
      const error = `the method ${request.method} is not allowed`;
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
    // A form of another site can't send this content type without a preflight request.
    if (!/^application\/json\b/.test(request.headers["content-type"] ?? "")) {
      return refuse(response, { status: 415, error: "send JSON as application/json" });
    }
    const body = await readBody(request);
    if (body === undefined) {
      response.setHeader("connection", "close");
      return refuse(response, {
        status: 413,
        error: `the body has at most ${BODY_BYTES_MAX} bytes`,
      });
    }
    json(response, await this.#api.setKnob(body));
  }
}

/** @throws ZcacheError ERR_OPTION for an invalid or repeated name of a service */
function checkNames(monitors: readonly Monitor[]): void {
  const names = monitors.map((one) => one.name);
  const wrong = names.find((name) => !/^[a-z][a-z0-9_.-]{0,63}$/i.test(name));
  if (wrong !== undefined) throw new ZcacheError("ERR_OPTION", `service "${wrong}": invalid name`);
  const twice = names.find((name, nth) => names.indexOf(name) !== nth);
  if (twice !== undefined) throw new ZcacheError("ERR_OPTION", `service "${twice}": given twice`);
}

function urlOf(request: IncomingMessage): URL | undefined {
  const path = request.url ?? "";
  if (!path.startsWith("/")) return undefined;
  // A path that begins with two slashes would be parsed as a host.
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

/** Reads the body of a request; undefined if it is too long. */
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
    throw new ZcacheError("ERR_OPTION", "the request ended before its body was complete");
  }
  return Buffer.concat(pieces).toString("utf8");
}
