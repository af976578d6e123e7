// All settings of the daemon, section by section, in the order in which help texts, the example
// file and the documentation show them. Each setting is one entry: its kind, what it does, its
// default and what is allowed. Flags, the configuration file and error texts are derived from it.
//
//   DAEMON      the control socket; keys that stand before all sections
//   MEMCACHED   [memcached], --memcached-…
//   NBD         [nbd], --nbd-…
//   WEB         [web], --web-…
import { ZcacheError } from "../../base/errors.ts";
import { KIB, MIB } from "../../base/units.ts";
import { ARENA_BYTES_MAX, PAGE_SIZES } from "../../memory/arena.ts";
import { machineMemory } from "../../node/machine_memory.ts";
import { GROWTH_MAX, MEMORY_MAX } from "../../store/options.ts";
import { PAGE_TYPES } from "../../zram/idle_scan.ts";
import { parsePageSize } from "../options.ts";
import type { Address } from "./address.ts";
import {
  checkCodec,
  checkCodecLevel,
  checkPool,
  denseDefault,
  type NamedSize,
  parseExport,
  parseNetwork,
  parseNodes,
} from "./readers.ts";
import * as S from "./setting.ts";

const MEMCACHED_PORT = 11_211;
const NBD_PORT = 10_809;
const WEB_PORT = 8080;
const SECONDS_MAX = 365 * 24 * 3600;
/** Of any codec; each has its own (`checkCodecLevel`). */
const LEVEL_MAX = 22;
/** The prefix of an address that speaks no TLS although a certificate is set. As in memcached. */
const NO_TLS = "notls";
const PAGE_SIZE_NAMES = PAGE_SIZES.map((bytes) => `${bytes / 1024}K`).join(", ");

/** What the limit can grow to while the daemon runs: decides how many shards there are. */
const memoryMaxCeiling = S.memory(
  `what memory-max can be raised to while the server runs, at most ${GROWTH_MAX} times as much \
(default: that, and 4G for each shard)`,
  undefined,
  { min: MIB, max: MEMORY_MAX },
);

/** Whether free memory goes back to the system. */
const giveBack = S.toggle("return unused memory to the system, if `koffi` is installed", true, {
  off: "keep unused memory",
});

/** Whether the limit follows the memory of the control group and the machine. */
const pressure = S.toggle("lower the limit while the system runs short of memory", true, {
  off: "keep the limit whatever memory the system has left",
});

const hugePages = S.toggle("ask the system for huge pages, if `koffi` is installed", false);

/** A cluster that keeps what is cold. @param what of the service: in help texts */
function remoteSettings(what: "pages" | "items") {
  const one = what.slice(0, -1);
  return {
    remote: S.list(
      "host:port",
      `nodes of a Valkey or Redis cluster that keeps cold ${what}, separated by commas \
(default: none)`,
      parseNodes,
    ),
    remotePrefix: S.text(
      "name",
      "prefix of all keys in the cluster, for this service alone",
      "zcache",
    ),
    remoteCopies: S.whole(`copies of each ${one} in the cluster`, "1", [1, 10]),
    remoteTimeout: S.whole("seconds to wait for a node that is down", "5", [1, 600], "seconds"),
    remoteUsername: S.text("name", "user to log in to the cluster as", undefined),
    remotePasswordFile: S.text("file", "file with the password for the cluster", undefined),
    remoteTls: S.toggle("use TLS to the cluster", false),
    remoteTlsCa: S.text("file", "CA certificates (PEM) of the cluster", undefined),
  };
}

export type RemoteValues = S.Values<ReturnType<typeof remoteSettings>>;

const DAEMON = {
  control: S.pathOrOff(
    "control socket for `zcache ctl`, `stats` and `top` (default: one path per user)",
    "do not open a control socket",
  ),
  controlMode: S.mode("file mode of the control socket", "600"),
};

/** What becomes of the files of a service that an earlier run has left. */
const existing = S.choice(
  "what to do with files of an earlier run",
  "recover",
  ["recover", "discard"],
  "action",
);

export const MEMCACHED = {
  enabled: S.toggle("serve the memcached protocol", true, {
    off: "do not serve the memcached protocol",
    flag: "memcached",
  }),
  listen: S.addresses(
    `TCP address to listen on (default: 127.0.0.1:${MEMCACHED_PORT}, or none if a socket is given)`,
    MEMCACHED_PORT,
    [NO_TLS],
  ),
  socket: S.list("path", "Unix socket to listen on", String),
  socketMode: S.mode("file mode of the Unix sockets", "700"),
  memoryMax: S.memory("memory limit for items and all metadata, such as 4G or 25%", "64M", {
    min: MIB,
    max: MEMORY_MAX,
  }),
  memoryMaxCeiling,
  shards: S.shards("arenas that the store is made of, each with a lock of its own"),
  codec: S.text("name", "codec for values; `zcache codecs` lists them", "lz4", checkCodec),
  tiers: S.toggle("recompress idle items with zstd", true, {
    off: "do not recompress idle items with zstd",
  }),
  dictionary: S.toggle("train a compression dictionary from the values", true, {
    off: "do not train a compression dictionary",
  }),
  writeBack: S.text("file", "file for items that do not fit in memory (default: none)", undefined),
  writeBackMax: S.size("maximum size of the write-back file", "1G"),
  persist: S.text(
    "path",
    "keep items across restarts, in files named PATH.… (default: items are lost)",
    undefined,
  ),
  existing,
  persistMax: S.size("maximum size of all persist files together", "32G"),
  ...remoteSettings("items"),
  giveBack,
  pressure,
  hugePages,
  maxItemSize: S.size("maximum size of an item, key and value together", "1M", {
    min: KIB,
    max: 128 * MIB,
  }),
  maxConns: S.whole("maximum number of connections", "1024", [1, 1_000_000]),
  threads: S.whole("threads that serve clients; all share one store", "1", [1, 64]),
  idleTimeout: S.whole(
    "seconds without a request after which a connection is closed; 0: never",
    "0",
    [0, SECONDS_MAX],
    "seconds",
  ),
  backlog: S.whole("maximum number of connections that wait to be accepted", "1024", [1, 65_535]),
  protocol: S.choice("protocol to speak", "auto", ["auto", "ascii", "binary"]),
  prefixDelimiter: S.text(
    "char",
    "character that ends the prefix of a key in `stats detail`",
    ":",
    (text, what) => {
      if (text.length !== 1) throw S.notAllowed(what, text, "one character");
    },
  ),
  authFile: S.text(
    "file",
    "file of NAME:PASSWORD lines; clients must log in with one of them (default: no login)",
    undefined,
  ),
  tlsCert: S.text("file", "TLS certificate (PEM); turns TLS on for TCP addresses", undefined),
  tlsKey: S.text("file", "TLS private key (PEM)", undefined),
  tlsCa: S.text(
    "file",
    "CA certificates (PEM); clients must present a certificate signed by one of them",
    undefined,
  ),
  tlsMinVersion: S.choice("oldest TLS version to accept", "1.2", ["1.2", "1.3"], "version"),
  tlsHandshakeTimeout: S.whole(
    "seconds after which a connection with an unfinished TLS handshake is closed",
    "10",
    [1, 3600],
    "seconds",
  ),
  replyBuffers: S.size("maximum bytes of replies that wait for the clients of one thread", "64M", {
    min: 64 * KIB,
    max: 16 * 1024 * MIB,
  }),
  flush: S.toggle("allow flush_all", true, { off: "refuse flush_all" }),
  dump: S.toggle("allow commands that list keys", true, { off: "refuse commands that list keys" }),
  watch: S.toggle("allow watch", true, { off: "refuse watch" }),
  watchBuffer: S.size("maximum bytes of log lines that wait for one watcher", "256K", {
    min: 4 * KIB,
    max: 64 * MIB,
  }),
  evict: S.toggle("evict items when memory is full", true, {
    off: "refuse new items instead of evicting when memory is full",
  }),
  cas: S.toggle("give each item a CAS number", true, { off: "do not give items CAS numbers" }),
  sweep: S.toggle("remove expired items in the background", true, {
    off: "keep expired items until they are asked for or room is needed",
  }),
  allowShutdown: S.toggle("allow clients to stop the server", false),
  debugTime: S.toggle("allow clients to move the clock (for tests)", false),
};

export const NBD = {
  enabled: S.toggle("serve block devices, if a size or an export is given", true, {
    off: "do not serve block devices",
    flag: "nbd",
  }),
  size: S.size("size of the default export, the device without a name, such as 8G", undefined),
  export: S.list("name=size", "further device with its name and size", parseExport),
  // The smallest memory also holds the buffers of connections.
  memoryMax: S.memory(
    "memory limit for all devices and metadata, such as 4G or 25% (default: enough for all data)",
    undefined,
    { min: MIB, max: MEMORY_MAX },
  ),
  memoryMaxCeiling,
  shards: S.shards("arenas that the store is made of, each with a lock of its own"),
  codec: S.text(
    "name",
    "codec for pages when written; `zcache codecs` lists them",
    "lz4",
    checkCodec,
  ),
  codecLevel: S.whole("level of that codec (default: its own)", undefined, [1, LEVEL_MAX]),
  recompress: S.text("name", "denser codec for idle pages, or none", denseDefault(), (name, what) =>
    checkCodec(name, what, ["none"]),
  ),
  recompressLevel: S.whole("level of that codec (default: its own)", undefined, [1, LEVEL_MAX]),
  recompressIdle: S.whole(
    "seconds without access after which a page is recompressed",
    "60",
    [1, SECONDS_MAX],
    "seconds",
  ),
  pool: S.text(
    "name",
    "allocator for compressed pages; `zcache pools` lists them",
    "dense",
    checkPool,
  ),
  pageSize: S.text("size", `page size: ${PAGE_SIZE_NAMES}`, "4K", (text, what) => {
    parsePageSize(text, what);
  }),
  writeBack: S.text(
    "file",
    "file for pages that do not fit in memory, or are idle (default: none)",
    undefined,
  ),
  writeBackMax: S.size("maximum size of the write-back file", "8G"),
  writeBackType: S.choice("pages to write back while there is room", "idle", PAGE_TYPES, "type"),
  writeBackIdle: S.whole(
    "seconds without access after which a page is written back",
    "3600",
    [1, SECONDS_MAX],
    "seconds",
  ),
  ...remoteSettings("pages"),
  giveBack,
  pressure,
  hugePages,
  lockMemory: S.toggle(
    "keep the devices' memory out of the system's swap, if `koffi` is installed",
    false,
  ),
  socket: S.text("path", "Unix socket to listen on", undefined),
  socketMode: S.mode("file mode of the Unix socket", "600"),
  listen: S.addresses(
    `TCP address to listen on (default: 127.0.0.1:${NBD_PORT}, or none if a socket is given)`,
    NBD_PORT,
  ),
  allow: S.list(
    "network",
    "address or network that may connect by TCP, such as 10.0.0.0/8 (default: any)",
    parseNetwork,
  ),
  threads: S.whole(
    "threads that serve clients (default: one per processor, at most 8)",
    undefined,
    [1, 64],
  ),
  maxConnections: S.whole("maximum number of connections", "32", [1, 4096]),
  readOnly: S.toggle("refuse writes", false),
  description: S.text("text", "description of the exports, which clients can ask for", "zcache"),
  image: S.text(
    "file",
    "file to load the devices from at start and save them to at exit (default: data is lost)",
    undefined,
  ),
  existing,
  tls: S.choice(
    "TLS policy, by default required if a certificate is set",
    undefined,
    ["required", "offered"],
    "mode",
  ),
  tlsKey: S.text("file", "TLS private key (PEM)", undefined),
  tlsCert: S.text("file", "TLS certificate (PEM)", undefined),
  tlsCa: S.text(
    "file",
    "CA certificates (PEM); clients must present a certificate signed by one of them",
    undefined,
  ),
};

const WEB = {
  enabled: S.toggle("serve the dashboard and /metrics", true, {
    off: "do not serve the dashboard and /metrics",
    flag: "web",
  }),
  listen: S.address("TCP address to listen on", `127.0.0.1:${WEB_PORT}`, WEB_PORT),
  hostname: S.list(
    "name",
    "host name under which browsers may open the page, besides localhost and addresses",
    String,
  ),
  tokenFile: S.text(
    "file",
    "file with the token that allows changes from the page (default: no changes)",
    undefined,
  ),
};

export type DaemonValues = S.Values<typeof DAEMON>;
export type MemcachedValues = S.Values<typeof MEMCACHED>;
export type NbdValues = S.Values<typeof NBD>;
export type WebValues = S.Values<typeof WEB>;

type Ceiling = Pick<MemcachedValues | NbdValues, "memoryMaxCeiling" | "shards">;

/** @param memoryMax the limit at the start, in bytes */
function checkCeiling(values: Ceiling, memoryMax: number, name: S.Namer): void {
  const { memoryMaxCeiling: ceiling, shards } = values;
  if (ceiling === undefined) return;
  const [what, limit] = [name("memory-max-ceiling"), name("memory-max")];
  const fail = (reason: string) => {
    throw new ZcacheError("ERR_OPTION", `${what}: ${ceiling} ${reason}`);
  };
  if (ceiling < memoryMax) fail(`is less than ${limit} (${memoryMax})`);
  if (ceiling > memoryMax * GROWTH_MAX) {
    fail(`is more than ${GROWTH_MAX} times ${limit} (${memoryMax}); start with more memory`);
  }
  const fewest = Math.ceil(ceiling / ARENA_BYTES_MAX);
  if (shards !== "auto" && shards < fewest) {
    fail(`needs ${fewest} shards, and ${name("shards")} is ${shards}`);
  }
}

function checkMemcached(values: MemcachedValues, name: S.Namer): void {
  const { tlsCert, tlsKey, tlsCa, maxItemSize, memoryMax, persist, remote } = values;
  const [cert, key] = [name("tls-cert"), name("tls-key")];
  if ((tlsCert === undefined) !== (tlsKey === undefined)) {
    throw new ZcacheError("ERR_OPTION", `${cert} and ${key}: give both or neither`);
  }
  if (tlsCa !== undefined && tlsCert === undefined) {
    throw new ZcacheError("ERR_OPTION", `${name("tls-ca")}: needs ${cert} and ${key}`);
  }
  if (persist !== undefined && remote.length > 0) {
    throw new ZcacheError(
      "ERR_OPTION",
      `${name("persist")} and ${name("remote")}: give one of them; the files have no index of \
items on other machines`,
    );
  }
  checkCeiling(values, memoryMax, name);
  if (maxItemSize > memoryMax / 2) {
    throw new ZcacheError(
      "ERR_OPTION",
      `${name("max-item-size")}: ${maxItemSize} is more than half of ${name("memory-max")} \
(${memoryMax}); allow smaller items or more memory`,
    );
  }
}

function checkNbd(values: NbdValues, name: S.Namer): void {
  checkCodecLevel(values.codec, values.codecLevel, name("codec-level"));
  checkCodecLevel(values.recompress, values.recompressLevel, name("recompress-level"));
  const names = devicesOf(values).map((one) => one.name);
  const twice = names.find((one, nth) => names.indexOf(one) !== nth);
  if (twice !== undefined) {
    throw new ZcacheError("ERR_OPTION", `${name("export")}: the name "${twice}" is given twice`);
  }
  checkCeiling(values, nbdMemoryBytes(values), name);
  const { tls, tlsKey, tlsCert, tlsCa } = values;
  const isWanted = [tls, tlsKey, tlsCert, tlsCa].some((one) => one !== undefined);
  if (isWanted && (tlsKey === undefined || tlsCert === undefined)) {
    const [key, cert] = [name("tls-key"), name("tls-cert")];
    throw new ZcacheError("ERR_OPTION", `TLS needs both ${key} FILE and ${cert} FILE`);
  }
}

export const DAEMON_SECTION: S.Section<typeof DAEMON> = {
  name: "",
  title: "the daemon itself",
  settings: DAEMON,
};
export const MEMCACHED_SECTION: S.Section<typeof MEMCACHED> = {
  name: "memcached",
  title: "the memcached protocol: text, meta and binary",
  settings: MEMCACHED,
  check: checkMemcached,
};
export const NBD_SECTION: S.Section<typeof NBD> = {
  name: "nbd",
  title: "compressed block devices (zram) for NBD clients",
  settings: NBD,
  check: checkNbd,
};
export const WEB_SECTION: S.Section<typeof WEB> = {
  name: "web",
  title: "the web page: dashboard and Prometheus metrics",
  settings: WEB,
};

export const SECTIONS = [DAEMON_SECTION, MEMCACHED_SECTION, NBD_SECTION, WEB_SECTION] as const;

/** The addresses to listen on: loopback unless an address or a socket is set. */
export function memcachedAddresses({ listen, socket }: MemcachedValues): readonly Address[] {
  return listen.length > 0 || socket.length > 0 ? listen : [loopback(MEMCACHED_PORT)];
}

/** The addresses to listen on: loopback unless an address or a socket is set. */
export function nbdAddresses({ listen, socket }: NbdValues): readonly Address[] {
  return listen.length > 0 || socket !== undefined ? listen : [loopback(NBD_PORT)];
}

function loopback(port: number): Address {
  return { host: "127.0.0.1", port, prefix: "" };
}

/** The devices that are configured; without any, block devices are not served. */
export function devicesOf({ size, export: named }: NbdValues): NamedSize[] {
  return [...(size === undefined ? [] : [{ name: "", sizeBytes: size }]), ...named];
}

/** Metadata takes less than a sixteenth of incompressible data, and the buffers less than that. */
const OVERHEAD_PART = 16;
const OVERHEAD_BYTES = 64 * MIB;

/** The memory that is set, or the most that the devices can take. */
export function nbdMemoryBytes(values: NbdValues): number {
  const dataBytes = devicesOf(values).reduce((sum, one) => sum + one.sizeBytes, 0);
  const wanted = Math.floor(dataBytes * (1 + 1 / OVERHEAD_PART)) + OVERHEAD_BYTES;
  return values.memoryMax ?? Math.min(machineMemory().bytes, wanted);
}

/** `existing` as an option of a write-back file, whose contents are never recovered. */
export function reuseOf(value: MemcachedValues["existing"]): "reuse" | "discard" {
  return value === "discard" ? "discard" : "reuse";
}
