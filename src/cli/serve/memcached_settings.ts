// What can be set about memcached.
import { ZcacheError } from "../../base/errors.ts";
import { KIB, MIB } from "../../base/units.ts";
import type { Address } from "./address.ts";
import { existingSetting } from "./existing.ts";
import { checkCodec } from "./names.ts";
import type { Namer } from "./section.ts";
import * as S from "./setting.ts";

const PORT = 11_211;
const DEFAULT_LISTEN = `127.0.0.1:${PORT}`;
/** Before an address: without TLS, where others have it. As memcached. */
const NO_TLS = "notls";

export const MEMCACHED = {
  enabled: S.toggle("serve memcached", true, {
    off: "do not serve memcached",
    flag: "memcached",
  }),
  listen: S.addresses(
    `TCP address to listen on (default: ${DEFAULT_LISTEN} without a socket)`,
    PORT,
    [NO_TLS],
  ),
  socket: S.list("path", "Unix socket to listen on", String),
  socketMode: S.mode("who may open the Unix sockets", "700"),
  memoryMax: S.size("memory for items and all that they need", "64M", {
    min: MIB,
    max: 64 * 1024 * MIB,
  }),
  codec: S.text("name", "codec of the values; see `zcache codecs`", "lz4", checkCodec),
  tiers: S.toggle("compress idle items anew with zstd", true, {
    off: "do not compress idle items anew with zstd",
  }),
  dictionary: S.toggle("train a dictionary from the values", true, {
    off: "do not train a dictionary from the values",
  }),
  writeBack: S.text("file", "a file for items that memory has no room for", undefined),
  writeBackMax: S.size("bytes of the write-back file", "1G"),
  persist: S.text("path", "begin with the items of the process before: files PATH.…", undefined),
  existing: existingSetting,
  persistMax: S.size("bytes of the files of persist together", "32G"),
  maxItemSize: S.size("largest key and value together", "1M", { min: KIB, max: 128 * MIB }),
  maxConns: S.whole("connections at a time", "1024", [1, 1_000_000]),
  threads: S.whole("threads that serve; all share one store", "1", [1, 64]),
  idleTimeout: S.whole(
    "close what says nothing for so many seconds; 0 never",
    "0",
    [0, 86_400 * 365],
    "seconds",
  ),
  backlog: S.whole("connections that may wait to be accepted", "1024", [1, 65_535]),
  protocol: S.choice("what is spoken", "auto", ["auto", "ascii", "binary"]),
  prefixDelimiter: S.text("char", "ends a key's prefix in `stats detail`", ":", (text, what) => {
    if (text.length !== 1) throw S.notAllowed(what, text, "one character");
  }),
  authFile: S.text("file", "lines NAME:PASSWORD of those who may come in", undefined),
  tlsCert: S.text("file", "certificate, PEM; with it TCP addresses speak TLS", undefined),
  tlsKey: S.text("file", "private key, PEM", undefined),
  tlsCa: S.text("file", "who signs clients' certificates, which they then must have", undefined),
  tlsMinVersion: S.choice("the oldest TLS", "1.2", ["1.2", "1.3"], "version"),
  tlsHandshakeTimeout: S.whole(
    "close what has not ended its TLS handshake after so many seconds",
    "10",
    [1, 3600],
    "seconds",
  ),
  replyBuffers: S.size("replies that all clients of a thread together may leave untaken", "64M", {
    min: 64 * KIB,
    max: 16 * 1024 * MIB,
  }),
  flush: S.toggle("clients may flush_all", true, { off: "refuse flush_all" }),
  dump: S.toggle("clients may list keys", true, { off: "refuse stats cachedump" }),
  watch: S.toggle("clients may watch what is done", true, { off: "refuse watch" }),
  watchBuffer: S.size("log lines that a watcher may leave unread", "256K", {
    min: 4 * KIB,
    max: 64 * MIB,
  }),
  evict: S.toggle("drop items when memory is full", true, {
    off: "refuse to store when memory is full",
  }),
  cas: S.toggle("items have cas numbers", true, { off: "no cas numbers" }),
  sweep: S.toggle("look for expired items", true, {
    off: "do not look for expired items; they go when room is needed",
  }),
  allowShutdown: S.toggle("clients may end the server", false),
  debugTime: S.toggle("clients may move the clock: for tests", false),
};

export type MemcachedValues = S.Values<typeof MEMCACHED>;

export function checkMemcached(values: MemcachedValues, name: Namer): void {
  const { tlsCert, tlsKey, tlsCa, maxItemSize, memoryMax } = values;
  const [cert, key] = [name("tls-cert"), name("tls-key")];
  if ((tlsCert === undefined) !== (tlsKey === undefined)) {
    throw new ZcacheError("ERR_OPTION", `${cert} and ${key}: both or neither`);
  }
  if (tlsCa !== undefined && tlsCert === undefined) {
    throw new ZcacheError("ERR_OPTION", `${name("tls-ca")}: needs ${cert} and ${key}`);
  }
  if (maxItemSize > memoryMax / 2) {
    throw new ZcacheError(
      "ERR_OPTION",
      `${name("max-item-size")}: ${maxItemSize} is more than half of ${name("memory-max")} \
(${memoryMax}); allow smaller items or more memory`,
    );
  }
}

/** Where it listens: on loopback if nothing is said, and on a socket alone if only that is. */
export function memcachedAddresses({ listen, socket }: MemcachedValues): readonly Address[] {
  return listen.length > 0 || socket.length > 0
    ? listen
    : [{ host: "127.0.0.1", port: PORT, prefix: "" }];
}
