// A long run of the fuzzers, started by hand, against a daemon that this program starts:
// `node dist/bench/fuzz/main.js [KIND] [INPUTS] [SEED]`, where KIND is nbd, web or control.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { askControl } from "../../src/monitor/control.ts";
import { Command } from "../../src/nbd/protocol/protocol.ts";
import { NbdClient } from "../../test/doubles/nbd_client.ts";
import { type FuzzedKind, fuzz, NBD_KEPT } from "./servers.ts";

const [, , kind = "nbd", inputs = "1000000", seed = "1"] = process.argv;
const LOOK_MS = 20_000;
const MAIN = fileURLToPath(new URL("../../src/cli/main.js", import.meta.url));

const folder = mkdtempSync(join(tmpdir(), "zcache-fuzz-"));
const [nbd, control] = [join(folder, "n"), join(folder, "c")];
const daemon = spawn(
  process.execPath,
  [
    ...[MAIN, "serve", "--nbd-size", "64M", "--nbd-export", "ro=1M"],
    ...["--nbd-export", `${NBD_KEPT.name}=1M`, "--nbd-memory-max", "48M"],
    ...["--nbd-socket", nbd, "--nbd-threads", "2", "--memcached-listen", "127.0.0.1:0"],
    ...["--web-listen", "127.0.0.1:0", "--control", control],
  ],
  { stdio: ["ignore", "pipe", "inherit"] },
);
let said = "";
daemon.stdout.on("data", (piece) => {
  said += piece;
});
while (!said.includes("control on")) await once(daemon.stdout, "data");
const web = new URL(/web page on (\S+)/.exec(said)![1]!);
const place =
  kind === "web"
    ? { host: web.hostname, port: Number(web.port) }
    : { path: kind === "nbd" ? nbd : control };

const data = Buffer.from(Array.from({ length: NBD_KEPT.sizeBytes }, (_, nth) => (nth * 7) & 0xff));
const writer = await NbdClient.open(nbd, { name: NBD_KEPT.name });
await writer.request(Command.WRITE, 0, data.length, { data });
writer.close();

function look(): string {
  const status = readFileSync(`/proc/${daemon.pid}/status`, "utf8");
  const resident = Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024);
  return `${resident} MiB resident, ${readdirSync(`/proc/${daemon.pid}/fd`).length} descriptors`;
}

console.log(`${kind}, seed ${seed}: ${look()}`);
const timer = setInterval(() => console.log(look()), LOOK_MS);
const begun = performance.now();
const result = await fuzz({
  ...{ kind: kind as FuzzedKind, place, inputs: Number(inputs), seed: Number(seed) },
});
clearInterval(timer);
const reader = await NbdClient.open(nbd, { name: NBD_KEPT.name });
const read = await reader.request(Command.READ, 0, data.length);
reader.close();
const stats = await askControl(control, { stats: true });
const seconds = Math.round((performance.now() - begun) / 1000);
console.log(
  `${JSON.stringify(result)} in ${seconds} s; ${look()}; what was written before reads back: ` +
    `${read.data.equals(data)}; ${JSON.stringify(stats["daemon"])}`,
);
daemon.kill("SIGTERM");
const [code] = (await once(daemon, "exit")) as [number | null];
console.log(`the daemon ends with ${code}`);
rmSync(folder, { recursive: true });
process.exitCode = code === 0 && read.data.equals(data) ? 0 : 1;
