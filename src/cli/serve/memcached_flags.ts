// `zcache memcached`: `zcache serve memcached` with the flags of memcached 1.6, so that a unit file
// or a script for memcached needs one word changed. Flags for parts that only memcached has are
// accepted and do nothing; those that ask for something that the server can't do are refused.

import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { Command, Option } from "commander";
import { ZcacheError } from "../../base/errors.ts";
import { nearest } from "../../base/option_names.ts";
import { write } from "../output.ts";
import { summaryOf } from "../summaries.ts";
import { type Config, type Entry, resolveConfig } from "./config.ts";
import type { Raw } from "./setting.ts";

const PORT = "11211";
/** memcached's number of threads, where there are as many processors. */
const THREADS = 4;

/** What `-h` shows; memcached's own letters, names and order. */
const FLAGS: readonly (readonly [flags: string, describe: string])[] = [
  ["-p, --port <num>", "TCP port to listen on (default: 11211); 0: none"],
  ["-U, --udp-port <num>", "UDP is not served: must be 0"],
  ["-s, --unix-socket <file>", "Unix socket to listen on; no TCP port then"],
  ["-a, --unix-mask <mask>", "access mode of the Unix socket, in octal (default: 700)"],
  ["-A, --enable-shutdown", "allow clients to stop the server by `shutdown`"],
  ["-l, --listen <addr>", "addresses to listen on, with commas, may be repeated (default: all)"],
  ["-d, --daemon", "refused: a service manager, or a shell, keeps the server in the background"],
  ["-r, --enable-coredumps", "accepted, without effect"],
  ["-u, --user <user>", "user to become, if started by root"],
  ["-m, --memory-limit <num>", "memory for items and all metadata, in megabytes (default: 64)"],
  ["-M, --disable-evictions", "refuse new items instead of evicting when memory is full"],
  ["-c, --conn-limit <num>", "maximum number of connections (default: 1024)"],
  ["-k, --lock-memory", "accepted, without effect"],
  ["-v, --verbose", "accepted, without effect; also -vv and -vvv"],
  ["-i, --license", "print the license"],
  ["-P, --pidfile <file>", "file for the process id while the server runs"],
  ["-f, --slab-growth-factor <num>", "accepted, without effect: there are no slabs"],
  ["-n, --slab-min-size <bytes>", "accepted, without effect: there are no slabs"],
  ["-L, --enable-largepages", "ask the system for huge pages, if `koffi` is installed"],
  ["-D, --prefix-delimiter <char>", "character that ends the prefix of a key in `stats detail`"],
  ["-t, --threads <num>", "threads (default: 4, but not more than processors)"],
  ["-R, --max-reqs-per-event <num>", "accepted, without effect"],
  ["-C, --disable-cas", "do not give items CAS numbers"],
  ["-b, --listen-backlog <num>", "connections that wait to be accepted (default: 1024)"],
  ["-B, --protocol <name>", "ascii, binary, or auto (default: auto)"],
  ["-I, --max-item-size <num>", "maximum size of an item, such as 2m (default: 1m)"],
  ["-S, --enable-sasl", "refused: -Y has passwords, for SASL too"],
  ["-F, --disable-flush-all", "refuse flush_all"],
  ["-X, --disable-dumping", "refuse commands that list keys"],
  ["-W, --disable-watch", "refuse watch"],
  ["-Y, --auth-file <file>", "file of NAME:PASSWORD lines; clients must log in"],
  ["-e, --memory-file <file>", "keep items across restarts, in files of this name"],
  ["-Z, --enable-ssl", "serve TLS, with -o ssl_chain_cert and ssl_key"],
  ["-N, --napi-ids <num>", "accepted, without effect"],
  ["-o, --extended <list>", "further options, with commas, may be repeated; docs/memcached.md"],
];

/** Flags that change nothing here. */
const WITHOUT_EFFECT = ["r", "k", "v", "f", "n", "R", "N"];

/** Flags that stand for one key of `[memcached]` as they are: by letter, the key. */
const KEYS: Readonly<Record<string, string>> = {
  c: "max-conns",
  a: "socket-mode",
  D: "prefix-delimiter",
  t: "threads",
  b: "backlog",
  B: "protocol",
  I: "max-item-size",
  Y: "auth-file",
  e: "persist",
};

/** Switches: by letter, the key and its value. */
const SWITCHES: Readonly<Record<string, readonly [key: string, value: boolean]>> = {
  A: ["allow-shutdown", true],
  M: ["evict", false],
  L: ["huge-pages", true],
  C: ["cas", false],
  F: ["flush", false],
  X: ["dump", false],
  W: ["watch", false],
};

/** What the options of `-o` come to, by memcached's names. */
const EXTENDED: Readonly<Record<string, (value: string) => Readonly<Record<string, Raw>>>> = {
  idle_timeout: (seconds) => ({ "idle-timeout": seconds }),
  watcher_logbuf_size: (kilobytes) => ({ "watch-buffer": `${kilobytes}K` }),
  lru_crawler: () => ({ sweep: true }),
  no_lru_crawler: () => ({ sweep: false }),
  ssl_chain_cert: (file) => ({ "tls-cert": file }),
  ssl_key: (file) => ({ "tls-key": file }),
  ssl_ca_cert: (file) => ({ "tls-ca": file }),
  ssl_min_version: (version) => ({ "tls-min-version": version.replace(/^tlsv/, "") }),
  ext_path: (place) => {
    const [, file = place, size] = /^(.*):([^:/]+)$/.exec(place) ?? [];
    return { "write-back": file, ...(size === undefined ? {} : { "write-back-max": size }) };
  },
};

/** Options of `-o` that change nothing here. */
const EXTENDED_WITHOUT_EFFECT = [
  ...["maxconns_fast", "no_maxconns_fast", "hashpower", "tail_repair_time", "hash_algorithm"],
  ...["lru_crawler_sleep", "lru_crawler_tocrawl", "read_buf_mem_limit", "lru_maintainer"],
  ...["no_lru_maintainer", "hot_lru_pct", "warm_lru_pct", "hot_max_factor", "warm_max_factor"],
  ...["temporary_ttl", "slab_chunk_max", "slab_reassign", "slab_automove", "worker_logbuf_size"],
  ...["track_sizes", "no_hashexpand", "modern", "no_modern", "sock_cookie_id", "ext_page_size"],
  ...["ext_wbuf_size", "ext_threads", "ext_item_size", "ext_item_age", "ext_low_ttl"],
  ...["ext_drop_unread", "ext_recache_rate", "ext_compact_under", "ext_drop_under"],
  ...["ext_max_frag", "ext_max_sleep", "slab_automove_freeratio", "slab_automove_window"],
  ...["ssl_keyformat", "ssl_verify_mode", "ssl_ciphers", "ssl_wbuf_size", "ssl_session_cache"],
  ...["ssl_kernel_tls", "drop_privileges", "no_drop_privileges", "resp_obj_mem_limit"],
];

/** What was given, by the letter of the flag. */
export type MemcachedFlags = Readonly<Record<string, string | true | readonly string[]>>;

/**
 * The configuration that memcached's flags stand for.
 * @throws ZcacheError ERR_OPTION that names the flag and what is allowed
 */
export function configOfFlags(flags: MemcachedFlags): Config {
  refuse(flags);
  const entries = new Map<string, Entry>();
  const set = (key: string, raw: Raw, name: string) =>
    entries.set(`memcached.${key}`, { raw, name, where: "" });
  set("threads", String(Math.min(THREADS, availableParallelism())), "-t");
  for (const [letter, value] of Object.entries(flags)) {
    const key = KEYS[letter];
    if (key !== undefined) set(key, value as string, `-${letter}`);
    const [switched, isOn] = SWITCHES[letter] ?? [];
    if (switched !== undefined) set(switched, isOn!, `-${letter}`);
  }
  if (flags["m"] !== undefined) set("memory-max", megabytesOf(flags["m"] as string), "-m");
  const sockets = textsOf(flags["s"]);
  if (sockets.length > 0) set("socket", sockets, "-s");
  else set("listen", listenOf(flags), "-l");
  for (const [name, value] of extendedOf(flags)) {
    const found = EXTENDED[name];
    for (const [key, raw] of Object.entries(found?.(value) ?? {})) set(key, raw, `-o ${name}`);
  }
  if (flags["Z"] !== undefined && !entries.has("memcached.tls-cert")) {
    throw new ZcacheError("ERR_OPTION", "-Z: give -o ssl_chain_cert=FILE,ssl_key=FILE");
  }
  return resolveConfig([entries], (_, key) => key);
}

function refuse(flags: MemcachedFlags): void {
  if (flags["d"] !== undefined) {
    throw new ZcacheError(
      "ERR_OPTION",
      "-d: the server stays in the foreground; leave -d out, and let a service manager run it",
    );
  }
  if (flags["S"] !== undefined) {
    throw new ZcacheError("ERR_OPTION", "-S: leave it out; -Y FILE has the passwords for SASL too");
  }
  const udp = flags["U"] ?? "0";
  if (udp !== "0") throw new ZcacheError("ERR_OPTION", `-U ${udp}: UDP is not served; must be 0`);
}

function megabytesOf(text: string): string {
  if (/^\d{1,9}$/.test(text)) return `${text}M`;
  throw new ZcacheError("ERR_OPTION", `-m: "${text}" is not allowed; write a number of megabytes`);
}

/** The addresses of `-l`, each with the port of `-p` if it has none. */
function listenOf(flags: MemcachedFlags): string[] {
  const port = (flags["p"] as string | undefined) ?? PORT;
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535) {
    throw new ZcacheError("ERR_OPTION", `-p: "${port}" is not allowed; write 0 to 65535`);
  }
  if (port === "0") {
    throw new ZcacheError("ERR_OPTION", "-p 0: there is nothing to listen on; give -s FILE");
  }
  const given = textsOf(flags["l"]).flatMap((list) => list.split(","));
  const hosts = given.length === 0 ? ["0.0.0.0"] : given;
  return hosts.map((host) => {
    const [, notls = "", place = ""] = /^(notls:)?(.*)$/.exec(host) ?? [];
    const isBareIpv6 = place.split(":").length > 2 && !place.includes("[");
    if (isBareIpv6) return `${notls}[${place}]:${port}`;
    const hasPort = /^(\[.*\]|[^:]*):\d+$/.test(place);
    return `${notls}${place}${hasPort ? "" : `:${port}`}`;
  });
}

/** The options of `-o`, by name. @throws ZcacheError for a name that memcached does not have */
function extendedOf(flags: MemcachedFlags): [name: string, value: string][] {
  const given = textsOf(flags["o"]).flatMap((list) => list.split(","));
  const names = [...Object.keys(EXTENDED), ...EXTENDED_WITHOUT_EFFECT];
  return given.map((one) => {
    const [name = "", ...value] = one.split("=");
    if (!names.includes(name)) throw unknownExtended(name, names);
    return [name, value.join("=")];
  });
}

function unknownExtended(name: string, names: readonly string[]): ZcacheError {
  const near = nearest(name, names);
  const hint = near === undefined ? "" : `; did you mean ${near}?`;
  return new ZcacheError("ERR_OPTION", `-o: memcached has no option "${name}"${hint}`);
}

function textsOf(value: MemcachedFlags[string] | undefined): readonly string[] {
  if (value === undefined || value === true) return [];
  return typeof value === "string" ? [value] : value;
}

/** Becomes another user, with the main group of that user only, as memcached does for root. */
function becomeUser(name: string): void {
  if (process.getuid?.() !== 0) return;
  const line = readFileSync("/etc/passwd", "utf8")
    .split("\n")
    .find((one) => one.startsWith(`${name}:`));
  const [, , user, group] = line?.split(":") ?? [];
  if (user === undefined || group === undefined) {
    throw new ZcacheError("ERR_OPTION", `-u: there is no user ${name} in /etc/passwd`);
  }
  process.setgroups!([]);
  process.setgid!(Number(group));
  process.setuid!(Number(user));
}

function writePidFile(path: string): void {
  try {
    writeFileSync(path, `${process.pid}\n`);
  } catch (cause) {
    throw new ZcacheError("ERR_IO", `-P: ${(cause as Error).message}`, { cause });
  }
  process.once("exit", () => rmSync(path, { force: true }));
}

/** The letter of a flag. */
const letterOf = (flags: string) => flags[1]!;

export function memcachedCommand(version: string): Command {
  const command = new Command("memcached")
    .description(summaryOf("memcached"))
    .version(version, "-V, --version");
  const attributes = FLAGS.map(([flags, describe]) => {
    const option = new Option(flags, describe);
    if (["l", "o", "s"].includes(letterOf(flags))) {
      option.argParser((text: string, before: string[] | undefined) => [...(before ?? []), text]);
    }
    command.addOption(option);
    return [letterOf(flags), option.attributeName()] as const;
  });
  return command.action(async () => {
    const values = command.opts<Record<string, string | true | string[]>>();
    const given = attributes.filter(([, name]) => values[name] !== undefined);
    const flags = Object.fromEntries(given.map(([letter, name]) => [letter, values[name]!]));
    if (flags["i"] !== undefined) {
      return write(`zcache ${version}: MIT license, in the file LICENSE of the package\n`);
    }
    const config = configOfFlags(flags);
    // As with memcached, files that only root may read are read before.
    const started = () => {
      if (flags["P"] !== undefined) writePidFile(flags["P"] as string);
      if (flags["u"] !== undefined) becomeUser(flags["u"] as string);
    };
    const { Daemon } = await import("./daemon.ts");
    return Daemon.run({ scope: "memcached", version, load: () => config, started });
  });
}

/** For tests: every flag is in one of the tables. */
export function flagsWithoutMeaning(): string[] {
  const special = ["p", "U", "s", "l", "d", "u", "m", "i", "P", "S", "Z", "o"];
  const known = [...special, ...WITHOUT_EFFECT, ...Object.keys(KEYS), ...Object.keys(SWITCHES)];
  return FLAGS.map(([flags]) => letterOf(flags)).filter((letter) => !known.includes(letter));
}
