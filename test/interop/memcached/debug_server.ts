// Stands in for the binary `memcached-debug` that memcached's own tests start: takes its options
// and starts this server. Options about slab memory and UDP are ignored.
import { writeFileSync, writeSync } from "node:fs";
import { createConnection } from "node:net";

const MAIN = new URL(
  `../../../src/cli/main.${import.meta.url.endsWith(".ts") ? "ts" : "js"}`,
  import.meta.url,
);
/** Options with a value, by memcached's letters. */
const VALUED = "pUsalumcPfnDtRbBIYoe";
const HELP = `memcached stand-in of zcache
-s, --unix-socket=<file>  UNIX socket to listen on
-Z, --enable-ssl          TLS
-U, --udp-port            not served
`;

interface Given {
  readonly letters: Map<string, string[]>;
  readonly extra: Map<string, string>;
}

function parse(args: readonly string[]): Given {
  const letters = new Map<string, string[]>();
  const add = (letter: string, value: string) => {
    letters.set(letter, [...(letters.get(letter) ?? []), value]);
  };
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    const letter = arg[1] ?? "";
    if (!arg.startsWith("-")) continue;
    if (!VALUED.includes(letter)) add(letter, "");
    else add(letter, arg.length > 2 ? arg.slice(2) : args[++i]!);
  }
  const extra = new Map<string, string>();
  for (const list of letters.get("o") ?? []) {
    for (const one of list.split(",")) {
      const [name = "", value = ""] = one.split("=");
      extra.set(name, value);
    }
  }
  return { letters, extra };
}

/** Where to listen, as `--listen` and `--socket` have it. */
function whereOf({ letters }: Given): string[] {
  const path = letters.get("s")?.[0];
  if (path !== undefined) return ["--socket", path];
  const port = Number(letters.get("p")?.[0] ?? 11_211);
  const hosts = letters.get("l")?.flatMap((list) => list.split(",")) ?? ["127.0.0.1"];
  return hosts.flatMap((host) => {
    const hasPort = /:\d+$/.test(host.replace(/^notls:/, ""));
    return ["--listen", hasPort ? host : `${host}:${Math.max(0, port)}`];
  });
}

function argumentsOf(given: Given): string[] {
  const { letters, extra } = given;
  const out = ["serve", "memcached", ...whereOf(given), "--debug-time", "--no-control"];
  const copy = (letter: string, option: string, unit = "") => {
    const value = letters.get(letter)?.at(-1);
    if (value !== undefined) out.push(option, `${value}${unit}`);
  };
  copy("m", "--memory-max", "M");
  copy("c", "--max-conns");
  copy("b", "--backlog");
  copy("B", "--protocol");
  copy("I", "--max-item-size");
  copy("D", "--prefix-delimiter");
  copy("Y", "--auth-file");
  if (letters.get("t")?.[0] === "0") out.push("--threads", "0");
  for (const [letter, option] of [
    ["M", "--no-evict"],
    ["C", "--no-cas"],
    ["F", "--no-flush"],
    ["X", "--no-dump"],
    ["A", "--allow-shutdown"],
    ["W", "--no-watch"],
  ] as const) {
    if (letters.has(letter)) out.push(option);
  }
  const logBuffer = extra.get("watcher_logbuf_size");
  if (logBuffer !== undefined) out.push("--watch-buffer", `${logBuffer}K`);
  const idle = extra.get("idle_timeout");
  if (idle !== undefined) out.push("--idle-timeout", idle);
  const sweeps = extra.has("lru_crawler") || !extra.has("no_modern");
  if (!sweeps || extra.has("no_lru_crawler")) out.push("--no-sweep");
  if (letters.has("Z")) {
    out.push("--tls-cert", extra.get("ssl_chain_cert")!, "--tls-key", extra.get("ssl_key")!);
    const verify = extra.get("ssl_verify_mode");
    const ca = extra.get("ssl_ca_cert");
    if (ca !== undefined && verify !== undefined && verify !== "0") out.push("--tls-ca", ca);
    if (extra.get("ssl_min_version") === "3") out.push("--tls-min-version", "1.3");
  }
  // What a test of memcached takes for granted: that items are as large as they came.
  if (process.env["ZCACHE_UNCOMPRESSED"] === "1") {
    out.push("--codec", "none", "--no-tiers", "--no-dictionary");
  }
  return out;
}

/** The test reads the number of the process from a file, half a second after it can connect. */
function writePid({ letters }: Given): void {
  const pidFile = letters.get("P")?.[0];
  if (pidFile !== undefined) writeFileSync(pidFile, `${process.pid}\n`);
}

/** And the number of the port. */
function writePort({ letters }: Given): void {
  const portFile = process.env["MEMCACHED_PORT_FILENAME"];
  const port = Number(letters.get("p")?.[0] ?? 11_211);
  if (portFile === undefined || port <= 0) return;
  const probe = createConnection(port, "127.0.0.1");
  probe.on("connect", () => writeFileSync(portFile, `TCP INET: ${port}\n`));
  probe.on("connect", () => probe.destroy());
  probe.on("error", () => {});
}

const given = parse(process.argv.slice(2));
// Not by process.stdout, which would make the pipe of the test that shares it non-blocking.
if (given.letters.has("h")) writeSync(1, HELP);
// SASL is part of `--auth-file` here, and not a mode of its own.
else if (given.letters.has("S")) process.exitCode = 1;
else {
  process.argv = [process.argv[0]!, "zcache", ...argumentsOf(given)];
  writePid(given);
  await import(MAIN.href);
  writePort(given);
}
