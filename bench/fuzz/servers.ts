// Random and mutated inputs for the NBD server, the web server and the control socket, over real
// sockets, cut at any position, from several clients at a time. The same seed makes the same
// inputs; their interleaving depends on the system.
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { Xorshift32 } from "../../src/base/random.ts";

export type FuzzedKind = "nbd" | "web" | "control";

export interface FuzzOptions {
  readonly kind: FuzzedKind;
  /** Where the server listens. */
  readonly place: { readonly path: string } | { readonly host: string; readonly port: number };
  /** Inputs that are sent: requests, options, lines, and mutations of these. */
  readonly inputs: number;
  readonly seed: number;
  readonly clients?: number;
}

export interface FuzzResult {
  readonly inputs: number;
  readonly connections: number;
  readonly bytes: number;
}

/** A client gives up if the server does not read from it for so long. */
const STALL_MS = 2000;
/** Maximum number of inputs of one connection. */
const INPUTS_MAX = 60;
const MIB = 1 << 20;

type Draw = (below: number) => number;

/** Sends inputs until their number is reached. */
export async function fuzz(options: FuzzOptions): Promise<FuzzResult> {
  const random = new Xorshift32(options.seed);
  const draw: Draw = (below) => random.below(below);
  const result = { inputs: 0, connections: 0, bytes: 0 };
  const client = async () => {
    while (result.inputs < options.inputs) {
      result.connections++;
      await converse(options, draw, result);
    }
  };
  await Promise.all(Array.from({ length: options.clients ?? 16 }, client));
  return result;
}

interface Tally {
  inputs: number;
  bytes: number;
}

/** One connection, from its beginning to an end that may come at any byte. */
async function converse({ kind, place }: FuzzOptions, draw: Draw, tally: Tally): Promise<void> {
  const socket = connect(place);
  socket.on("error", () => {});
  // Most clients read; some do so late, or never.
  if (draw(12) > 0) socket.resume();
  await opened(socket);
  const { begin, next } = inputsOf(kind, draw);
  let ok = socket.write(begin);
  for (let left = 1 + draw(INPUTS_MAX); left > 0 && !socket.destroyed; left--) {
    if (!ok && !(await drained(socket))) break;
    const whole = next();
    const input = draw(6) === 0 ? mutated(whole, draw) : whole;
    tally.inputs++;
    tally.bytes += input.length;
    const cut = draw(5) === 0 ? draw(input.length + 1) : input.length;
    ok = socket.write(input.subarray(0, cut));
    if (cut === input.length) continue;
    // The rest is sent in a separate piece, or never.
    await new Promise((done) => setImmediate(done));
    if (draw(8) === 0) break;
    ok = socket.write(input.subarray(cut));
  }
  if (draw(2) === 0) socket.destroy();
  else socket.end();
  await gone(socket);
}

async function opened(socket: Socket): Promise<void> {
  await Promise.race([once(socket, "connect"), once(socket, "close")]).catch(() => {});
}

/** @returns whether more may be sent */
async function drained(socket: Socket): Promise<boolean> {
  if (socket.destroyed) return false;
  return within(socket, ["drain", "close"]);
}

async function gone(socket: Socket): Promise<void> {
  if (socket.closed) return;
  if (socket.isPaused()) socket.destroy();
  await within(socket, ["close"]);
  socket.destroy();
}

/** @returns whether one of the events was emitted in time */
async function within(socket: Socket, events: readonly string[]): Promise<boolean> {
  const signal = AbortSignal.timeout(STALL_MS);
  const waits = events.map((event) => once(socket, event, { signal }));
  return Promise.any(waits).then(
    () => !socket.destroyed,
    () => false,
  );
}

/** Changes, removes, inserts or repeats bytes. */
function mutated(bytes: Buffer, draw: Draw): Buffer {
  let changed = Buffer.from(bytes);
  for (let times = 1 + draw(3); times > 0 && changed.length > 0; times--) {
    const at = draw(changed.length);
    const rest = changed.subarray(at);
    if (draw(3) > 0) changed[at] = draw(256);
    else if (draw(2) === 0) changed = Buffer.concat([changed.subarray(0, at), rest.subarray(1)]);
    else changed = Buffer.concat([changed.subarray(0, at), Buffer.from([draw(256)]), rest]);
  }
  return changed;
}

function inputsOf(kind: FuzzedKind, draw: Draw): { begin: Buffer; next: () => Buffer } {
  if (kind === "web") return { begin: Buffer.alloc(0), next: () => httpRequest(draw) };
  if (kind === "control") return { begin: Buffer.alloc(0), next: () => controlLine(draw) };
  const goes = draw(4) > 0;
  return { begin: nbdBegin(draw, goes), next: () => (goes ? nbdRequest(draw) : nbdOption(draw)) };
}

function pick<T>(draw: Draw, all: readonly T[]): T {
  return all[draw(all.length)]!;
}

function garbage(draw: Draw, bytesMax: number): Buffer {
  return Buffer.from(Array.from({ length: draw(bytesMax) }, () => draw(256)));
}

function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value & 0xffff);
  return bytes;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}

function option(number: number, data: Buffer, length = data.length): Buffer {
  return Buffer.concat([Buffer.from("IHAVEOPT"), u32(number), u32(length), data]);
}

function named(name: string | Buffer): Buffer {
  const bytes = Buffer.from(name);
  return Buffer.concat([u32(bytes.length), bytes]);
}

const NAMES = ["", "ro", "no", "a\0b", "é".repeat(10), "x".repeat(4096), "x".repeat(4097), "../x"];

function nbdBegin(draw: Draw, goes: boolean): Buffer {
  const flags = u32(draw(12) > 0 ? 3 : draw(2 ** 31));
  if (!goes) return flags;
  const meta = Buffer.concat([named(""), u32(1), named("base:allocation")]);
  const structured = draw(2) === 0 ? [] : [option(8, Buffer.alloc(0)), option(10, meta)];
  const go = option(7, Buffer.concat([named(draw(4) > 0 ? "" : "ro"), u16(0)]));
  return Buffer.concat([flags, ...structured, go]);
}

function nbdOption(draw: Draw): Buffer {
  const name = pick(draw, NAMES);
  const queries = [u32(pick(draw, [0, 1, 2, 1e6, 0xffffffff])), named("base:allocation")];
  switch (draw(9)) {
    case 0:
      return option(3, Buffer.alloc(draw(3) > 0 ? 0 : 5));
    case 1:
      return option(pick(draw, [6, 7]), Buffer.concat([named(name), u16(draw(3)), u16(draw(9))]));
    case 2:
      return option(pick(draw, [9, 10]), Buffer.concat([named(name), ...queries, named(name)]));
    case 3:
      return option(5, Buffer.alloc(draw(2) * 4));
    case 4:
      return option(draw(2 ** 31), garbage(draw, 100));
    case 5:
      return option(6, Buffer.alloc(10), pick(draw, [0xffffffff, 20_000, 16_385, 0x7fffffff]));
    case 6:
      return option(1, Buffer.from(name));
    case 7:
      return garbage(draw, 60);
    default:
      return option(8, Buffer.alloc(0));
  }
}

/**
 * The data that must stay intact is in an export that no input names: in an export that is named,
 * a mutated request may change every byte.
 */
export const NBD_KEPT = { name: "kept", sizeBytes: MIB } as const;
const NBD_BYTES = 64 * MIB;

function nbdRequest(draw: Draw): Buffer {
  const command = pick(draw, [0, 0, 1, 1, 3, 4, 5, 6, 7, 8, draw(50) === 0 ? 2 : 0, draw(65_536)]);
  const flags = draw(4) > 0 ? 0 : pick(draw, [1, 2, 4, 8, 16, 32, draw(65_536)]);
  const inside = draw(NBD_BYTES);
  const offset = pick(draw, [inside, inside, inside, NBD_BYTES - 1, NBD_BYTES, 2 ** 53, 2 ** 63]);
  const lengths = [0, 1, 511, 4096, draw(70_000), 0xffffffff, NBD_BYTES, NBD_BYTES + 1];
  const length = draw(3) > 0 ? draw(20_000) : pick(draw, lengths);
  const head = Buffer.alloc(28);
  head.writeUInt32BE(0x25609513, 0);
  head.writeUInt16BE(flags, 4);
  head.writeUInt16BE(command, 6);
  head.writeUInt32BE(draw(2 ** 31), 8);
  head.writeBigUInt64BE(BigInt(offset), 16);
  head.writeUInt32BE(length, 24);
  if (command !== 1) return head;
  const sent = Math.min(length, 40_000);
  return Buffer.concat([head, Buffer.alloc(draw(8) > 0 ? sent : draw(sent + 1), draw(256))]);
}

const PATHS = ["/", "/app.js", "/metrics", "/api/state", "/api/knobs", "/api/services/nbd/map"];
const MORE_PATHS = [
  "/api/services/nbd/sizes",
  "/api/services/nbd/what-if?codec=x",
  "/no",
  "//a",
  "*",
];
const METHODS = ["GET", "GET", "GET", "HEAD", "POST", "PUT", "OPTIONS", "CONNECT", "FOO", "get"];

function httpRequest(draw: Draw): Buffer {
  if (draw(12) === 0) return garbage(draw, 200);
  const path = pick(draw, [...PATHS, ...MORE_PATHS]);
  const query = pick(draw, ["", "", "?from=1&to=2", `?cells=${draw(2 ** 31)}`, "?from=-1", "?%zz"]);
  const body = "x".repeat(draw(4) === 0 ? draw(6000) : 0);
  const headers = [
    `host: ${pick(draw, ["localhost", "127.0.0.1", "evil.example", "", "[::1]"])}`,
    ...pick(draw, [[], [], ["connection: close"], ["connection: upgrade", "upgrade: h2c"]]),
    ...pick(draw, [[], [], ["expect: 100-continue"], ["sec-fetch-site: cross-site"]]),
    ...pick(draw, [[], ["transfer-encoding: chunked"], [`x: ${"y".repeat(draw(9000))}`]]),
    ...(body === "" ? [] : [`content-length: ${pick(draw, [body.length, draw(9999), -1])}`]),
  ];
  const version = pick(draw, ["1.1", "1.1", "1.1", "1.0", "2.0"]);
  const line = `${pick(draw, METHODS)} ${path}${query} HTTP/${version}`;
  return Buffer.from(`${line}\r\n${headers.join("\r\n")}\r\n\r\n${body}`);
}

function controlLine(draw: Draw): Buffer {
  if (draw(10) === 0) return garbage(draw, 200);
  const values: readonly unknown[] = [
    { stats: true },
    { state: true },
    { list: true },
    { get: ["mm_stat"] },
    { get: ["", "x".repeat(draw(2000)), "__proto__"] },
    { set: { recompress_idle: pick(draw, ["5", "", "-1", "1e9", "9".repeat(400)]) } },
    { set: { __proto__: "1", idle: "all" } },
    { set: { mm_stat: "1" } },
    { stats: false },
    { get: [1] },
    { set: 1, get: 2 },
    [],
    null,
    "x".repeat(draw(3000)),
    draw(2 ** 31),
  ];
  const text = JSON.stringify(pick(draw, values));
  return Buffer.from(`${text}${pick(draw, ["\n", "\n", "\n", "\r\n", "\n\n", ""])}`);
}
