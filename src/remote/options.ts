// The options of the remote tier: defaults and checks.
import { readFileSync } from "node:fs";
import { describe } from "../base/describe.ts";
import { ZcacheError } from "../base/errors.ts";
import { readOptions } from "../base/option_names.ts";
import { parseTime } from "../base/units.ts";
import type { ConnectionSettings } from "./connection.ts";
import { PREFIX } from "./keys.ts";

/** How to reach the servers of a Valkey or Redis cluster, or a single server. */
export interface ServerOptions {
  /** Some nodes of the cluster, or one server: "host:port". */
  readonly nodes: readonly string[];
  /**
   * Begins each key: 1 to 64 letters, digits and `_ . : -`. One service at a time owns a prefix.
   */
  readonly prefix: string;
  /**
   * How long a request waits for nodes that do not answer: ms or text such as "5s" (default 5 s).
   */
  readonly timeoutMs?: number | string;
  /** true, or options of `tls.connect`: `ca`, `cert`, `key`, … (default: no TLS). */
  readonly tls?: boolean | Readonly<Record<string, unknown>>;
  /** A user of the servers' access control (default: the user `default`). */
  readonly username?: string;
  /**
   * The password. Take it from a file (`passwordFile`) or from the environment variable
   * ZCACHE_REMOTE_PASSWORD (default) rather than from a command line.
   */
  readonly password?: string;
  /** A file with the password in its first line. */
  readonly passwordFile?: string;
}

/** Options of `createRemote`. */
export interface RemoteOptions extends ServerOptions {
  /**
   * Copies of each persistent record: 1 is the master alone, n the master and n − 1 replicas, which
   * must have acknowledged it (default 1).
   */
  readonly copies?: number;
  /** Whether ephemeral pages are sent too (default true). */
  readonly ephemeral?: boolean;
  /** Time to live of ephemeral records: ms or text such as "1h" (default 1 day). */
  readonly ttl?: number | string;
  /**
   * After this time without a renewal, the lease of the prefix ends, and another process may take
   * it: ms or text, 1 s or more (default 15 s).
   */
  readonly leaseMs?: number | string;
}

/** The option `remote` of a cache whose values several machines share. */
export interface SharedCacheOptions extends ServerOptions {
  /** "shared": all caches with this prefix have the same values. */
  readonly mode: "shared";
  /**
   * The longest time to live of a value in the cluster: ms or text (default 1 day). A value is
   * never without one.
   */
  readonly ttl?: number | string;
}

export interface ResolvedShared extends ResolvedServers {
  readonly ttlMs: number;
}

export interface ResolvedServers {
  readonly nodes: readonly string[];
  readonly prefix: string;
  readonly timeoutMs: number;
  readonly connection: ConnectionSettings;
}

export interface ResolvedRemote extends ResolvedServers {
  readonly copies: number;
  readonly ephemeral: boolean;
  readonly ttlMs: number;
  readonly leaseMs: number;
}

const SERVER_KEYS: readonly (keyof ServerOptions)[] = [
  ...(["nodes", "prefix", "timeoutMs", "tls", "username", "password", "passwordFile"] as const),
];
const REMOTE_KEYS: readonly (keyof RemoteOptions)[] = [
  ...SERVER_KEYS,
  ...(["copies", "ephemeral", "ttl", "leaseMs"] as const),
];

const PASSWORD_VARIABLE = "ZCACHE_REMOTE_PASSWORD";
const NODE = /^(\[[0-9a-fA-F:.]+\]|[^\s:[\]]+):(\d{1,5})$/;
const NODES_MAX = 1000;
const TIMEOUT_MS = 5000;
const TIMEOUT_MS_MAX = 600_000;
const COPIES_MAX = 10;
const TTL_MS = 86_400_000;
/** The engine refuses times that end beyond its 64 bits. */
const TTL_MS_MAX = 366 * 86_400_000;
const LEASE_MS = 15_000;
const LEASE_MS_MIN = 1000;
const LEASE_MS_MAX = 3_600_000;

/** @throws ZcacheError ERR_OPTION naming the option and what is allowed */
export function resolveRemote(options: RemoteOptions): ResolvedRemote {
  const read = readOptions(options, REMOTE_KEYS, "the remote tier");
  const { copies = 1, ephemeral = true, ttl = TTL_MS, leaseMs = LEASE_MS } = read;
  if (!(Number.isInteger(copies) && copies >= 1 && copies <= COPIES_MAX)) {
    throw wrong("copies", copies, `a whole number from 1 to ${COPIES_MAX}`);
  }
  if (typeof ephemeral !== "boolean") throw wrong("ephemeral", ephemeral, "true or false");
  return {
    ...resolveServers(read),
    ...{ copies, ephemeral },
    ttlMs: timeOf("ttl", ttl, 1, TTL_MS_MAX),
    leaseMs: timeOf("leaseMs", leaseMs, LEASE_MS_MIN, LEASE_MS_MAX),
  };
}

/** @throws ZcacheError ERR_OPTION naming the option and what is allowed */
export function resolveShared(options: SharedCacheOptions): ResolvedShared {
  const read = readOptions(options, [...SERVER_KEYS, "mode", "ttl"], "remote");
  if (read.mode !== "shared") throw wrong("remote.mode", read.mode, '"shared"');
  const ttlMs = timeOf("remote.ttl", read.ttl ?? TTL_MS, 1, TTL_MS_MAX);
  return { ...resolveServers(read), ttlMs };
}

/** @throws ZcacheError ERR_OPTION naming the option and what is allowed */
function resolveServers(options: ServerOptions): ResolvedServers {
  const { nodes, prefix, timeoutMs = TIMEOUT_MS, username } = options;
  if (!Array.isArray(nodes) || nodes.length === 0 || nodes.length > NODES_MAX) {
    throw wrong("nodes", nodes, `an array of 1 to ${NODES_MAX} texts "host:port"`);
  }
  for (const node of nodes as readonly unknown[]) {
    const port = typeof node === "string" ? Number(NODE.exec(node)?.[2]) : Number.NaN;
    if (!(port >= 1 && port <= 65535)) throw wrong("nodes", node, '"host:port"');
  }
  if (typeof prefix !== "string" || !PREFIX.test(prefix)) {
    throw wrong("prefix", prefix, "1 to 64 letters, digits and _ . : -");
  }
  if (username !== undefined && (typeof username !== "string" || username === "")) {
    throw wrong("username", username, "a name");
  }
  const password = passwordOf(options);
  if (username !== undefined && password === undefined) {
    const remedy = `give password, passwordFile, or the variable ${PASSWORD_VARIABLE}`;
    throw new ZcacheError("ERR_OPTION", `username without a password: ${remedy}`);
  }
  return {
    nodes: [...new Set(nodes as readonly string[])],
    prefix,
    timeoutMs: timeOf("timeoutMs", timeoutMs, 1, TIMEOUT_MS_MAX),
    connection: { username, password, tls: tlsOf(options.tls) },
  };
}

/** The message never has the password. */
function passwordOf({ password, passwordFile }: ServerOptions): string | undefined {
  if (passwordFile !== undefined && password !== undefined) {
    throw new ZcacheError("ERR_OPTION", "give either password or passwordFile, not both");
  }
  if (password !== undefined) {
    if (typeof password === "string" && password !== "") return password;
    throw new ZcacheError("ERR_OPTION", "password: must be a text that is not empty");
  }
  if (passwordFile === undefined) return process.env[PASSWORD_VARIABLE] || undefined;
  if (typeof passwordFile !== "string") throw wrong("passwordFile", passwordFile, "a path");
  let text: string;
  try {
    text = readFileSync(passwordFile, "utf8");
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new ZcacheError("ERR_OPTION", `passwordFile ${passwordFile} can't be read: ${code}`, {
      cause,
    });
  }
  const [line = ""] = text.split(/\r?\n/);
  if (line !== "") return line;
  throw new ZcacheError("ERR_OPTION", `passwordFile ${passwordFile} has an empty first line`);
}

function tlsOf(tls: unknown): Readonly<Record<string, unknown>> | undefined {
  if (tls === undefined || tls === false) return undefined;
  if (tls === true) return {};
  if (typeof tls === "object" && tls !== null && !Array.isArray(tls)) return { ...tls };
  throw wrong("tls", tls, "true, false, or an object with options of tls.connect");
}

function timeOf(name: string, value: unknown, min: number, max: number): number {
  const ms = parseTime(value as number | string, name);
  if (ms >= min && ms <= max) return ms;
  throw wrong(name, value, `from ${min} to ${max} ms`);
}

function wrong(name: string, value: unknown, allowed: string): ZcacheError {
  return new ZcacheError("ERR_OPTION", `${name} ${describe(value)}: must be ${allowed}`);
}
