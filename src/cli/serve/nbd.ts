// `zcache serve nbd`: compressed block devices for NBD clients, until a signal ends it.
import { readFileSync } from "node:fs";
import { Command } from "commander";
import { ZcacheError } from "../../base/errors.ts";
import { MIB } from "../../base/units.ts";
import { PAGE_TYPES, type PageType, ZramTending } from "../../front/zram_tending.ts";
import { ARENA_BYTES_MAX } from "../../memory/arena.ts";
import {
  type Listen,
  type NbdServer,
  type NbdTlsOptions,
  startNbdServer,
  Zram,
} from "../../nbd.ts";
import { nodeCodecs } from "../../node/codecs.ts";
import { ControlServer } from "../../server/control.ts";
import { DeviceImage } from "../../server/image.ts";
import type { Store } from "../../store/store.ts";
import { createStore, startMaintainer } from "../../stores.ts";
import { defaultControlPath } from "../ctl.ts";
import { complain } from "../exit.ts";
import { parsePageSize, parseSizeIn, parseWhole } from "../options.ts";
import { write } from "../output.ts";
import { zramKnobs } from "../zram_knobs.ts";

interface Args {
  readonly size?: string;
  readonly export: readonly string[];
  readonly memoryMax?: string;
  readonly codec: string;
  readonly recompress: string;
  readonly recompressIdle: string;
  readonly pool: string;
  readonly pageSize: string;
  readonly writeBack?: string;
  readonly writeBackMax: string;
  readonly writeBackType: string;
  readonly writeBackIdle: string;
  readonly socket?: string;
  readonly socketMode: string;
  readonly listen: readonly string[];
  readonly allow: readonly string[];
  readonly threads?: string;
  readonly maxConnections: string;
  readonly readOnly?: true;
  readonly description: string;
  readonly image?: string;
  readonly tls?: string;
  readonly tlsKey?: string;
  readonly tlsCert?: string;
  readonly tlsCa?: string;
  readonly control?: string | false;
}

interface NamedDevice {
  readonly name: string;
  readonly device: Zram;
}

/** What is above the size of the devices, if all of it holds data that does not compress. */
const OVERHEAD_PART = 16;
const OVERHEAD_BYTES = 64 * MIB;
/** Of each thread before it serves: what the engine would compile under the first client. */
const PRACTICE_MS = 500;
/** Between two steps of idle work: the main thread also accepts connections. */
const STEP_EVERY_MS = 20;
const REST_MS = 250;

/** Names and sizes, from --size and --export. */
function devicesOf(args: Args): { name: string; sizeBytes: number }[] {
  const devices = args.export.map((text) => {
    const at = text.lastIndexOf("=");
    if (at < 1) throw new ZcacheError("ERR_OPTION", `--export "${text}": write NAME=SIZE`);
    return { name: text.slice(0, at), sizeBytes: parseSizeIn(text.slice(at + 1), "--export") };
  });
  if (args.size !== undefined) {
    devices.unshift({ name: "", sizeBytes: parseSizeIn(args.size, "--size") });
  }
  if (devices.length === 0) {
    throw new ZcacheError("ERR_OPTION", "give --size SIZE, or --export NAME=SIZE, or both");
  }
  const names = new Set(devices.map((one) => one.name));
  if (names.size === devices.length) return devices;
  throw new ZcacheError("ERR_OPTION", "--export: every name may stand there once");
}

function listenOf(args: Args): Listen[] {
  const listen: Listen[] = args.listen.map((text) => {
    const match = /^(?:\[([^\]]+)\]|([^:]*)):(\d{1,5})$/.exec(text);
    const port = match === null ? Number.NaN : Number(match[3]);
    if (match !== null && port < 65536) return { host: match[1] ?? match[2] ?? "", port };
    throw new ZcacheError("ERR_OPTION", `--listen "${text}": write HOST:PORT`);
  });
  if (args.socket !== undefined) {
    if (!/^0?[0-7]{3}$/.test(args.socketMode)) {
      throw new ZcacheError("ERR_OPTION", `--socket-mode "${args.socketMode}": write 600, say`);
    }
    listen.push({ path: args.socket, mode: Number.parseInt(args.socketMode, 8) });
  }
  if (listen.length > 0) return listen;
  throw new ZcacheError("ERR_OPTION", "give --socket PATH, or --listen HOST:PORT, or both");
}

function tlsOf({ tls, tlsKey, tlsCert, tlsCa }: Args): NbdTlsOptions | undefined {
  const isWanted = [tls, tlsKey, tlsCert, tlsCa].some((one) => one !== undefined);
  if (!isWanted) return undefined;
  if (tlsKey === undefined || tlsCert === undefined) {
    throw new ZcacheError("ERR_OPTION", "TLS takes --tls-key FILE and --tls-cert FILE");
  }
  const mode = tls ?? "required";
  if (mode !== "required" && mode !== "offered") {
    throw new ZcacheError("ERR_OPTION", `--tls "${mode}": allowed are required, offered`);
  }
  const ca = tlsCa === undefined ? {} : { ca: textOf(tlsCa) };
  return { mode, key: textOf(tlsKey), cert: textOf(tlsCert), ...ca };
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new ZcacheError("ERR_IO", (cause as Error).message, { cause });
  }
}

function storeOf(args: Args, dataBytes: number): Store {
  const wanted = Math.floor(dataBytes * (1 + 1 / OVERHEAD_PART)) + OVERHEAD_BYTES;
  const memoryMax =
    args.memoryMax === undefined
      ? Math.min(ARENA_BYTES_MAX, wanted)
      : parseSizeIn(args.memoryMax, "--memory-max");
  return createStore({
    memoryMax,
    pageSize: parsePageSize(args.pageSize),
    codec: args.codec,
    pool: args.pool,
    ...(args.recompress === "none" ? {} : { recompress: { codec: args.recompress } }),
    ...(args.writeBack === undefined
      ? {}
      : { writeBack: { path: args.writeBack, max: args.writeBackMax } }),
  });
}

function tendingOf(args: Args, store: Store): ZramTending {
  const hasFile = args.writeBack !== undefined;
  const type = PAGE_TYPES.find((one) => one === args.writeBackType);
  if (type === undefined) {
    const allowed = PAGE_TYPES.join(", ");
    throw new ZcacheError("ERR_OPTION", `--write-back-type ${args.writeBackType}: ${allowed}`);
  }
  const seconds = (text: string, what: string) => parseWhole(text, what, 1, 1e9);
  return new ZramTending(
    store,
    {
      recompress: (args.recompress === "none" ? "none" : "idle") satisfies PageType,
      recompressIdleSeconds: seconds(args.recompressIdle, "--recompress-idle"),
      writeBack: hasFile ? type : "none",
      writeBackIdleSeconds: seconds(args.writeBackIdle, "--write-back-idle"),
      writeBackLimit: 0,
      writeBackLimited: false,
    },
    performance.now(),
  );
}

/** Does what is to be done now and then, until it is told to stop. */
function tendInBackground(tending: ZramTending): () => void {
  let timer: NodeJS.Timeout;
  const step = () => {
    const isMore = tending.step(performance.now());
    timer = setTimeout(step, isMore ? STEP_EVERY_MS : REST_MS);
  };
  timer = setTimeout(step, REST_MS);
  return () => clearTimeout(timer);
}

async function startControl(
  args: Args,
  parts: { store: Store; devices: readonly NamedDevice[]; tending: ZramTending },
  server: NbdServer,
): Promise<ControlServer | undefined> {
  if (args.control === false) return undefined;
  const { store, devices, tending } = parts;
  const path = args.control ?? defaultControlPath();
  const { codec, recompress: denseCodec } = args;
  const knobs = zramKnobs({ store, exports: devices, tending, codec, denseCodec });
  const stats = () => ({
    server: server.stats(),
    tending: tending.done,
    exports: devices.map(({ name, device }) => ({ name, ...device.requests() })),
    ...store.stats(),
  });
  try {
    return await ControlServer.start({ path, knobs, stats });
  } catch (error) {
    // A second daemon of this user: it serves, and is controlled if it is given a path of its own.
    if (args.control !== undefined || !(error instanceof ZcacheError)) throw error;
    complain(`no control socket: ${error.message}; give --control PATH`);
    return undefined;
  }
}

async function serve(args: Args): Promise<void> {
  const wanted = devicesOf(args);
  const listen = listenOf(args);
  const tls = tlsOf(args);
  const ended = signalled();
  using store = storeOf(
    args,
    wanted.reduce((sum, one) => sum + one.sizeBytes, 0),
  );
  const tending = tendingOf(args, store);
  const devices = wanted.map(({ name, sizeBytes }, number) => ({
    name,
    device: Zram.create(store, sizeBytes, number),
  }));
  const image = args.image === undefined ? undefined : new DeviceImage(args.image, devices);
  if (image?.exists) await write(`loaded ${image.load()} pages from ${args.image}\n`);
  if (args.writeBack !== undefined) startMaintainer(store);
  const { readOnly = false, description, allow } = args;
  const server = await startNbdServer(store, {
    exports: devices.map((one) => ({ ...one, readOnly, description })),
    listen,
    allow,
    connectionsMax: parseWhole(args.maxConnections, "--max-connections", 1, 4096),
    ...(args.threads === undefined
      ? {}
      : { threads: parseWhole(args.threads, "--threads", 1, 64) }),
    ...(tls === undefined ? {} : { tls }),
    practiceMs: PRACTICE_MS,
  });
  const control = await startControl(args, { store, devices, tending }, server);
  const stopTending = tendInBackground(tending);
  await write(`serving on ${server.addresses.join(" ")}\n`);
  try {
    await Promise.race([ended, server.failure]);
  } finally {
    stopTending();
    await control?.close();
    await server.close();
  }
  if (image !== undefined && !readOnly) {
    await write(`saved ${image.save()} pages to ${args.image}\n`);
  }
}

/** Ends at the first signal; a second one of the same kind ends the program at once. */
function signalled(): Promise<void> {
  return new Promise((resolve) => {
    process.once("SIGTERM", () => resolve());
    process.once("SIGINT", () => resolve());
  });
}

const collect = (value: string, before: readonly string[]) => [...before, value];

export function serveNbdCommand(): Command {
  const hasZstd = nodeCodecs()
    .list()
    .some((one) => one.name === "zstd" && one.available);
  return new Command("nbd")
    .description("serve compressed block devices (zram) to NBD clients")
    .option("--size <size>", "bytes of the device, such as 8G")
    .option("--export <name=size>", "a further device, by name; may be repeated", collect, [])
    .option("--memory-max <size>", "bytes of memory, everything counted (default: as --size)")
    .option("--codec <name>", "codec of what comes in; see `zcache codecs`", "lz4")
    .option("--recompress <name>", "codec for idle pages, or none", hasZstd ? "zstd" : "none")
    .option("--recompress-idle <seconds>", "without use, after which a page is idle", "60")
    .option("--pool <name>", "where pages are kept; see `zcache pools`", "dense")
    .option("--page-size <size>", "4K, 8K, 16K, 32K or 64K", "4K")
    .option("--write-back <file>", "a file for what does not fit, or lies idle")
    .option("--write-back-max <size>", "bytes of that file", "8G")
    .option("--write-back-type <type>", "what goes there before room is short", "idle")
    .option("--write-back-idle <seconds>", "without use, after which it goes there", "3600")
    .option("--socket <path>", "listen on a Unix socket")
    .option("--socket-mode <octal>", "who may open it", "600")
    .option("--listen <host:port>", "listen on TCP; may be repeated", collect, [])
    .option("--allow <network>", "who may connect by TCP; may be repeated", collect, [])
    .option("--threads <n>", "threads that serve (default: one per processor, at most 8)")
    .option("--max-connections <n>", "connections at once", "32")
    .option("--read-only", "refuse writes")
    .option("--description <text>", "of the export, for clients that ask", "zcache")
    .option("--image <file>", "load the devices from it, and save them on SIGTERM")
    .option("--tls <mode>", "required or offered, with --tls-key and --tls-cert")
    .option("--tls-key <file>", "private key, PEM")
    .option("--tls-cert <file>", "certificate, PEM")
    .option("--tls-ca <file>", "who signs clients' certificates; others are refused")
    .option("--control <path>", "control socket, for `zcache ctl` (default: one per user)")
    .option("--no-control", "no control socket")
    .action(serve);
}
