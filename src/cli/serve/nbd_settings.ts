// What can be set about block devices.
import { isIP } from "node:net";
import { ZcacheError } from "../../base/errors.ts";
import { MIB } from "../../base/units.ts";
import { ARENA_BYTES_MAX, PAGE_SIZES } from "../../memory/arena.ts";
import { PAGE_TYPES } from "../../zram/idle_scan.ts";
import { parsePageSize, parseSizeIn } from "../options.ts";
import type { Address } from "./address.ts";
import { existingSetting } from "./existing.ts";
import { checkCodec, checkPool, denseDefault } from "./names.ts";
import type { Namer } from "./section.ts";
import * as S from "./setting.ts";

const SECONDS_MAX = 365 * 24 * 3600;
const PORT = 10_809;
/** Of memory that is served from: the buffers of connections need some. */
const MEMORY_MIN = 1024 * 1024;
const PAGE_SIZE_NAMES = PAGE_SIZES.map((bytes) => `${bytes / 1024}K`).join(", ");

export interface NamedSize {
  readonly name: string;
  readonly sizeBytes: number;
}

function parseExport(text: string, what: string): NamedSize {
  const at = text.lastIndexOf("=");
  if (at < 1) throw S.notAllowed(what, text, "NAME=SIZE");
  return { name: text.slice(0, at), sizeBytes: parseSizeIn(text.slice(at + 1), what) };
}

/** An address, or a network such as `10.0.0.0/8`; stays as it is written. */
function parseNetwork(text: string, what: string): string {
  const [address = "", bits = "0", rest] = text.split("/");
  const most = isIP(address) === 6 ? 128 : 32;
  const isGood = isIP(address) > 0 && /^\d{1,3}$/.test(bits) && Number(bits) <= most;
  if (isGood && rest === undefined) return text;
  throw S.notAllowed(what, text, "an address or a network, such as 10.0.0.0/8 or fd00::/8");
}

export const NBD = {
  enabled: S.toggle("serve block devices, if there is a size or an export", true, {
    off: "do not serve block devices",
    flag: "nbd",
  }),
  size: S.size("bytes of the device without a name, such as 8G", undefined),
  export: S.list("name=size", "a further device, by name", parseExport),
  memoryMax: S.size("bytes of memory, everything counted (default: as the devices)", undefined, {
    min: MEMORY_MIN,
    max: ARENA_BYTES_MAX,
  }),
  codec: S.text("name", "codec of what comes in; see `zcache codecs`", "lz4", checkCodec),
  recompress: S.text("name", "codec for idle pages, or none", denseDefault(), (name, what) =>
    checkCodec(name, what, ["none"]),
  ),
  recompressIdle: S.whole(
    "seconds without use after which a page is idle",
    "60",
    [1, SECONDS_MAX],
    "seconds",
  ),
  pool: S.text("name", "where pages are kept; see `zcache pools`", "dense", checkPool),
  pageSize: S.text("size", `bytes of a page: ${PAGE_SIZE_NAMES}`, "4K", (text, what) => {
    parsePageSize(text, what);
  }),
  writeBack: S.text("file", "a file for what does not fit, or lies idle", undefined),
  writeBackMax: S.size("bytes of the write-back file", "8G"),
  writeBackType: S.choice("what is written back before room is short", "idle", PAGE_TYPES, "type"),
  writeBackIdle: S.whole(
    "seconds without use after which a page is written back",
    "3600",
    [1, SECONDS_MAX],
    "seconds",
  ),
  socket: S.text("path", "listen on a Unix socket", undefined),
  socketMode: S.mode("who may open the Unix socket", "600"),
  listen: S.addresses(`listen on TCP (default: 127.0.0.1:${PORT} without a socket)`, PORT),
  allow: S.list(
    "network",
    "who may connect by TCP, such as 10.0.0.0/8 (default: all)",
    parseNetwork,
  ),
  threads: S.whole(
    "threads that serve (default: one per processor, at most 8)",
    undefined,
    [1, 64],
  ),
  maxConnections: S.whole("connections at once", "32", [1, 4096]),
  readOnly: S.toggle("refuse writes", false),
  description: S.text("text", "of the exports, for clients that ask", "zcache"),
  image: S.text("file", "load the devices from it, and save them at the end", undefined),
  existing: existingSetting,
  tls: S.choice(
    "TLS, where there is a key and a certificate (default: required)",
    undefined,
    ["required", "offered"],
    "mode",
  ),
  tlsKey: S.text("file", "private key, PEM", undefined),
  tlsCert: S.text("file", "certificate, PEM", undefined),
  tlsCa: S.text("file", "who signs clients' certificates; others are refused", undefined),
};

export type NbdValues = S.Values<typeof NBD>;

/** The devices that are asked for: none, and nothing is to be served. */
export function devicesOf({ size, export: named }: NbdValues): NamedSize[] {
  return [...(size === undefined ? [] : [{ name: "", sizeBytes: size }]), ...named];
}

export function checkNbd(values: NbdValues, name: Namer): void {
  const devices = devicesOf(values);
  if (new Set(devices.map((one) => one.name)).size < devices.length) {
    throw new ZcacheError("ERR_OPTION", `${name("export")}: every name may stand there once`);
  }
  const { tls, tlsKey, tlsCert, tlsCa } = values;
  const isWanted = [tls, tlsKey, tlsCert, tlsCa].some((one) => one !== undefined);
  if (isWanted && (tlsKey === undefined || tlsCert === undefined)) {
    const [key, cert] = [name("tls-key"), name("tls-cert")];
    throw new ZcacheError("ERR_OPTION", `TLS takes ${key} FILE and ${cert} FILE, both`);
  }
}

/** Where it listens: on loopback if nothing is said, and on a socket alone if only that is. */
export function nbdAddresses({ listen, socket }: NbdValues): readonly Address[] {
  return listen.length > 0 || socket !== undefined
    ? listen
    : [{ host: "127.0.0.1", port: PORT, prefix: "" }];
}

/** What is above the size of the devices, if all of it holds data that does not compress. */
const OVERHEAD_PART = 16;
const OVERHEAD_BYTES = 64 * MIB;

/** The memory that is set, or what the devices take at most. */
export function nbdMemoryBytes(values: NbdValues): number {
  const dataBytes = devicesOf(values).reduce((sum, one) => sum + one.sizeBytes, 0);
  const wanted = Math.floor(dataBytes * (1 + 1 / OVERHEAD_PART)) + OVERHEAD_BYTES;
  return values.memoryMax ?? Math.min(ARENA_BYTES_MAX, wanted);
}
