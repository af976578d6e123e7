// `zcache serve memcached`: the options, the warning where they are unsafe, and how it ends.
import { Command } from "commander";
import { ZcacheError } from "../../base/errors.ts";
import { formatBytes } from "../../base/units.ts";
import { startMemcachedServer } from "../../memcached.ts";
import { keepYoungHeapSmall } from "../../node/small_heap.ts";
import type { Endpoint, TlsFiles } from "../../server/memcached/listen.ts";
import type { MemcachedServer } from "../../server/memcached/server.ts";
import type { MemcachedSettings } from "../../server/memcached/settings.ts";
import { complain } from "../exit.ts";
import { parseSizeIn, parseWhole } from "../options.ts";
import { write } from "../output.ts";

const DEFAULT_LISTEN = "127.0.0.1:11211";
const DEFAULT_PORT = 11_211;
/** How long a graceful end waits for clients to take their replies. */
const CLOSE_WAIT_MS = 500;

export interface MemcachedArgs {
  readonly listen?: string[];
  readonly socket?: string[];
  readonly memoryMax: string;
  readonly codec: string;
  readonly tiers: boolean;
  readonly dictionary: boolean;
  readonly writeBack?: string;
  readonly writeBackMax: string;
  readonly persist?: string;
  readonly persistMax: string;
  readonly maxItemSize: string;
  readonly maxConns: string;
  readonly threads: string;
  readonly idleTimeout: string;
  readonly backlog: string;
  readonly protocol: string;
  readonly prefixDelimiter: string;
  readonly authFile?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly tlsCa?: string;
  readonly tlsMinVersion?: string;
  readonly allowShutdown?: true;
  readonly debugTime?: true;
  readonly flush: boolean;
  readonly dump: boolean;
  readonly evict: boolean;
  readonly cas: boolean;
  readonly sweep: boolean;
}

/** `HOST:PORT`, `[V6]:PORT`, `HOST` or `:PORT`. */
export function parseListen(text: string, what: string): { host: string; port: number } {
  const match = /^(?:\[([0-9a-f:.]+)\]|([^:[\]]*))(?::(\d{1,5}))?$/i.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = match?.[3] === undefined ? DEFAULT_PORT : Number(match[3]);
  if (host === undefined || port > 65_535) {
    throw new ZcacheError(
      "ERR_OPTION",
      `${what}: "${text}" is not allowed; write HOST:PORT, such as ${DEFAULT_LISTEN}`,
    );
  }
  return { host: host === "" ? "127.0.0.1" : host, port };
}

function tlsOf({ tlsCert, tlsKey, tlsCa, tlsMinVersion }: MemcachedArgs): TlsFiles | undefined {
  if (tlsCert === undefined && tlsKey === undefined) {
    if (tlsCa === undefined) return undefined;
    throw new ZcacheError("ERR_OPTION", "--tls-ca: needs --tls-cert and --tls-key");
  }
  if (tlsCert === undefined || tlsKey === undefined) {
    throw new ZcacheError("ERR_OPTION", "--tls-cert and --tls-key: both or neither");
  }
  if (tlsMinVersion !== undefined && tlsMinVersion !== "1.2" && tlsMinVersion !== "1.3") {
    throw new ZcacheError("ERR_OPTION", `--tls-min-version: "${tlsMinVersion}"; write 1.2 or 1.3`);
  }
  const minVersion = tlsMinVersion === "1.3" ? "TLSv1.3" : "TLSv1.2";
  return { cert: tlsCert, key: tlsKey, ca: tlsCa, minVersion };
}

/** Where to listen; on loopback if nothing is said, and on a socket alone if only that is. */
export function endpointsOf(args: MemcachedArgs): Endpoint[] {
  const tls = tlsOf(args);
  const sockets = (args.socket ?? []).map((path) => ({ path }));
  const listen = args.listen ?? (sockets.length > 0 ? [] : [DEFAULT_LISTEN]);
  const addresses = listen.map((text) => {
    // As memcached: an address without TLS beside those with it.
    const plain = text.startsWith("notls:");
    const address = parseListen(plain ? text.slice("notls:".length) : text, "--listen");
    return plain || tls === undefined ? address : { ...address, tls };
  });
  return [...addresses, ...sockets];
}

export function settingsOf(args: MemcachedArgs): Partial<MemcachedSettings> {
  const protocol = args.protocol as MemcachedSettings["protocol"];
  return {
    memoryMax: parseSizeIn(args.memoryMax, "--memory-max"),
    codec: args.codec,
    tiers: args.tiers,
    dictionary: args.dictionary,
    ...filesOf(args),
    itemBytesMax: parseSizeIn(args.maxItemSize, "--max-item-size"),
    connectionsMax: parseWhole(args.maxConns, "--max-conns", 1, 1_000_000),
    threads: parseWhole(args.threads, "--threads", 1, 64),
    idleTimeoutS: parseWhole(args.idleTimeout, "--idle-timeout", 0, 86_400 * 365),
    listenBacklog: parseWhole(args.backlog, "--backlog", 1, 65_535),
    // Who has an auth file speaks text, or SASL PLAIN in the binary protocol.
    protocol,
    prefixDelimiter: args.prefixDelimiter,
    authFile: args.authFile,
    shutdownEnabled: args.allowShutdown === true,
    debugTime: args.debugTime === true,
    flushEnabled: args.flush,
    dumpEnabled: args.dump,
    evicts: args.evict,
    casEnabled: args.cas,
    sweeps: args.sweep,
  };
}

/** The files: for what memory has no room for, and for the next process. */
function filesOf({ writeBack, writeBackMax, persist, persistMax }: MemcachedArgs) {
  const fileMax = parseSizeIn(writeBackMax, "--write-back-max");
  const keptMax = parseSizeIn(persistMax, "--persist-max");
  return {
    writeBack: writeBack === undefined ? undefined : { path: writeBack, max: fileMax },
    persist: persist === undefined ? undefined : { path: persist, max: keptMax },
  };
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || host.startsWith("127.");
}

/** What somebody should know before others find out. */
function warnOf(endpoints: readonly Endpoint[], args: MemcachedArgs): string | undefined {
  const open = endpoints.find(({ host }) => host !== undefined && !isLoopback(host));
  if (open === undefined || args.authFile !== undefined || args.tlsCa !== undefined) {
    return undefined;
  }
  return `warning: ${open.host} is open to other machines, and nobody has to say who they are; \
give --auth-file, --tls-ca or a loopback address`;
}

/** Starts the server as the options say; `zcache serve` does the same with those of its own. */
export async function startMemcached(
  args: MemcachedArgs,
  onShutdown: (graceful: boolean) => void,
): Promise<MemcachedServer> {
  const endpoints = endpointsOf(args);
  const settings = settingsOf(args);
  const warning = warnOf(endpoints, args);
  if (warning !== undefined) complain(warning);
  const { server } = await startMemcachedServer({
    ...settings,
    listen: endpoints,
    onShutdown,
    onFault: (error) => complain(`warning: ${error.message}`),
  });
  return server;
}

async function run(args: MemcachedArgs): Promise<void> {
  keepYoungHeapSmall();
  let server: MemcachedServer | undefined;
  let ending = false;
  const end = (graceful: boolean) => {
    if (ending) return;
    ending = true;
    const saved = server?.close(graceful);
    // Workers hold descriptors that only the end of the process gives back.
    setTimeout(() => void saved?.then(() => process.exit(0)), graceful ? CLOSE_WAIT_MS : 0);
  };
  server = await startMemcached(args, end);
  for (const signal of ["SIGTERM", "SIGINT", "SIGUSR1"] as const) {
    process.on(signal, () => end(true));
  }
  process.on("SIGHUP", () => void server.refreshCertificates());
  const where = server.addresses.join(", ");
  const memory = formatBytes(parseSizeIn(args.memoryMax, "--memory-max"));
  await write(`memcached on ${where}; ${memory} in ${args.threads} thread(s)\n`);
}

function repeated(value: string, before: string[] | undefined): string[] {
  return [...(before ?? []), value];
}

export function serveMemcachedCommand(): Command {
  return new Command("memcached")
    .description("serve the memcached protocol: text, meta and binary")
    .option("--listen <host:port>", `TCP address; may be repeated (${DEFAULT_LISTEN})`, repeated)
    .option("--socket <path>", "unix socket; may be repeated", repeated)
    .option("--memory-max <size>", "memory for items and all that they need", "64M")
    .option("--codec <name>", "compresses the values; see `zcache codecs`", "lz4")
    .option("--no-tiers", "do not compress idle items anew with zstd")
    .option("--no-dictionary", "do not train a dictionary from the values")
    .option("--write-back <file>", "a file for items that memory has no room for")
    .option("--write-back-max <size>", "bytes of that file", "1G")
    .option("--persist <path>", "begin with the items of the process before; files PATH.…")
    .option("--persist-max <size>", "bytes of those files together", "32G")
    .option("--max-item-size <size>", "largest key and value together", "1M")
    .option("--max-conns <n>", "connections at a time", "1024")
    .option("--threads <n>", "threads that serve; all share one store", "1")
    .option("--idle-timeout <seconds>", "close what says nothing for so long; 0 never", "0")
    .option("--backlog <n>", "connections that may wait to be accepted", "1024")
    .option("--protocol <name>", "auto, ascii or binary", "auto")
    .option("--prefix-delimiter <char>", "ends a key's prefix in `stats detail`", ":")
    .option("--auth-file <file>", "lines NAME:PASSWORD of those who may come in")
    .option("--tls-cert <file>", "certificate, PEM: TCP addresses speak TLS")
    .option("--tls-key <file>", "its key, PEM")
    .option("--tls-ca <file>", "who signs clients' certificates, which they then must have")
    .option("--tls-min-version <version>", "1.2 or 1.3")
    .option("--no-flush", "refuse flush_all")
    .option("--no-dump", "refuse stats cachedump")
    .option("--no-evict", "refuse to store when memory is full")
    .option("--no-cas", "no cas numbers")
    .option("--no-sweep", "do not look for expired items; they go when room is needed")
    .option("--allow-shutdown", "clients may end the server")
    .option("--debug-time", "clients may move the clock: for tests")
    .action(run);
}
