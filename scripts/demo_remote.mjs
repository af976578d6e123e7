// `npm run demo:remote`: a disk of 4 GiB with 512 MiB of memory here, and the rest on a cluster.
//
// Starts three masters and three replicas on loopback, and `zcache attach --remote` with ext4. It
// writes files of 1.25 GiB while a master is killed, checks the file system, and compares all files
// while another master is killed. Then it deletes most files and watches pages come back. Prints
// what is here and what is on the cluster as it goes. Needs root, and what `zcache attach` needs;
// says what is missing. All of it is undone at the end, whatever happens.
//
// `--mib N` writes N MiB; device and memory shrink or grow with it.
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { open, unlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { has, Undo } from "./demo.mjs";

const MIB = 1024 * 1024;
const FULL_MIB = 1280;
const FULL_DEVICE_MIB = 4096;
const FULL_MEMORY_MIB = 512;
const FILES = 40;
/** One file of so many stays when the others are deleted. */
const KEPT_OF = 5;
/** The part of the files after which a master is killed. */
const MEANWHILE_AT = 0.75;
const PIECE = 256 * 1024;
const LOOK_MS = 1000;
/** Looks without a change after which no more pages come back. */
const SETTLED_LOOKS = 5;
const ID = `demo-remote-${process.pid}`;
const dist = join(dirname(fileURLToPath(import.meta.url)), "../dist");
const CLI = join(dist, "src/cli/main.js");
const SERVERS = join(dist, "test/doubles/engine_servers.js");
const run = promisify(execFile);

const undo = new Undo("demo:remote");
const begin = performance.now();
/** What is being done now, with its part that is done, for the line of progress. */
let doing = "";
let isInterrupted = false;

function seconds() {
  return `${((performance.now() - begin) / 1000).toFixed(0).padStart(4)} s`;
}

function say(text) {
  if (process.stdout.isTTY) process.stdout.write("\r\x1b[K");
  console.log(`${seconds()}  ${text}`);
}

function missing() {
  if (process.getuid?.() !== 0) return "this needs root";
  if (!existsSync(CLI)) return "not built: npm run build";
  if (!["valkey-server", "redis-server"].some(has)) {
    return "not installed: valkey-server or redis-server";
  }
  const absent = ["mkfs.ext4", "fsck.ext4", "mount", "umount"].filter((one) => !has(one));
  return absent.length > 0 ? `not installed: ${absent.join(", ")}` : undefined;
}

function sizes() {
  const [option, value] = process.argv.slice(2);
  const mib = option === undefined ? FULL_MIB : Number(value);
  if ((option !== undefined && option !== "--mib") || !(mib >= 64)) {
    console.error("usage: npm run demo:remote [-- --mib N]   N is 64 or more");
    process.exit(2);
  }
  const part = mib / FULL_MIB;
  return {
    fileBytes: Math.floor((mib * MIB) / FILES / PIECE) * PIECE,
    deviceMib: Math.max(512, Math.round(FULL_DEVICE_MIB * part)),
    memoryMib: Math.round(FULL_MEMORY_MIB * part),
  };
}

/** Bytes of which about two thirds can be compressed away, different everywhere. */
function fillPiece(piece, seed) {
  const words = new Uint32Array(piece.buffer, piece.byteOffset, piece.length / 4);
  let state = (Math.imul(seed + 1, 2654435761) ^ 0x9e3779b9) >>> 0;
  for (let at = 0; at < words.length; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    words[at] = (at & 15) < 8 ? state ^ (at << 7) : seed;
  }
  return piece;
}

/** The disk, and what is known of it. */
class Demo {
  constructor({ fileBytes, deviceMib, memoryMib }, folder, cluster) {
    this.pieces = fileBytes / PIECE;
    this.deviceMib = deviceMib;
    this.memoryMib = memoryMib;
    this.folder = folder;
    this.tree = join(folder, "disk");
    this.socket = join(folder, "run", ID, "control.sock");
    this.env = { ...process.env, ZCACHE_RUNTIME_DIR: join(folder, "run") };
    this.cluster = cluster;
    /** The checksum of each file. */
    this.sums = new Map();
  }

  async zcache(...args) {
    const options = { env: this.env, maxBuffer: 16 * MIB };
    const { stdout, stderr } = await run(process.execPath, [CLI, ...args], options);
    if (stderr.trim() !== "") say(stderr.trim());
    return stdout.trim();
  }

  async attach() {
    mkdirSync(this.tree);
    const remote = ["--remote", this.cluster.nodes.join(","), "--remote-prefix", "demo"];
    const copies = ["--remote-copies", "2", "--remote-timeout", "30"];
    const size = ["--size", `${this.deviceMib}M`, "--memory-max", `${this.memoryMib}M`];
    const more = ["--recompress", "none", "--mkfs", "ext4", "--mount", this.tree];
    undo.push(() => this.detach());
    this.device = await this.zcache("attach", "--id", ID, ...size, ...remote, ...copies, ...more);
    say(`${this.device}: ${this.deviceMib} MiB, of which ${this.memoryMib} MiB are here; ext4`);
  }

  async detach() {
    if (!existsSync(join(this.folder, "run", `${ID}.json`))) return;
    await this.zcache("detach", ID);
  }

  async stats() {
    return JSON.parse(await this.zcache("stats", "--json", "--socket", this.socket));
  }

  /** The pages here and on the cluster, and what has moved so far. */
  async figures() {
    const { persistent, counters } = await this.stats();
    const mib = (pages) => `${((pages * 4096) / MIB).toFixed(0)} MiB`;
    return (
      `here ${mib(persistent.pagesInMemory)}, cluster ${mib(persistent.pagesRemote)} ` +
      `(as ${(persistent.remoteBytes / MIB).toFixed(0)}); pages out ` +
      `${counters.pers_pages_remoted}, read ${counters.remote_pers_pages_succ_get}, ` +
      `repatriated ${counters.repatriated_pages}`
    );
  }

  async sayFigures(what) {
    say(`${what}: ${await this.figures()}`);
  }

  nameOf(file) {
    return join(this.tree, `file-${file}`);
  }

  async write(file) {
    const piece = Buffer.alloc(PIECE);
    const sum = createHash("sha256");
    const target = await open(this.nameOf(file), "w");
    try {
      for (let nth = 0; nth < this.pieces; nth++) {
        fillPiece(piece, file * this.pieces + nth);
        sum.update(piece);
        await target.write(piece);
      }
      // An error of the disk appears here.
      await target.sync();
    } finally {
      await target.close();
    }
    this.sums.set(file, sum.digest("hex"));
  }

  async compare(file) {
    const piece = Buffer.alloc(PIECE);
    const sum = createHash("sha256");
    const source = await open(this.nameOf(file));
    try {
      for (;;) {
        const { bytesRead } = await source.read(piece);
        if (bytesRead === 0) break;
        sum.update(piece.subarray(0, bytesRead));
      }
    } finally {
      await source.close();
    }
    if (sum.digest("hex") !== this.sums.get(file)) {
      throw new Error(`${this.nameOf(file)} has other bytes than were written`);
    }
  }

  /** Does something with all files; after three quarters of them, something else begins. */
  async each(what, files, work, meanwhile = async () => {}) {
    let other = Promise.resolve();
    for (const [nth, file] of files.entries()) {
      if (isInterrupted) throw new Error("interrupted");
      doing = `${what} ${nth + 1} of ${files.length} files`;
      if (nth === Math.floor(files.length * MEANWHILE_AT)) {
        await this.sayFigures(`${what}, ${nth} of ${files.length} files`);
        other = meanwhile();
        other.catch(() => {});
      }
      await work(file);
    }
    await other;
    doing = "";
  }

  /** Kills a master in the middle of its work. Its replica takes over, and it comes back empty. */
  async killMaster() {
    const [master] = await this.cluster.masters();
    say(`kill -9 of the master ${master.address}`);
    await this.cluster.failover(master);
    say("its replica has taken its place");
    await master.restart();
    await this.cluster.resynchronized();
    say(`${master.address} is back, as a replica with all data`);
  }

  async check() {
    await run("umount", [this.tree]);
    const { stdout } = await run("fsck.ext4", ["-f", "-n", this.device]);
    say(`fsck: ${stdout.trim().split("\n").at(-1)}`);
    await run("mount", ["-o", "discard", this.device, this.tree]);
  }

  /** Waits until no more pages come back. */
  async repatriated() {
    let last = -1;
    for (let looks = 0; looks < SETTLED_LOOKS; looks++) {
      const { persistent } = await this.stats();
      await this.sayFigures("repatriation");
      if (persistent.pagesRemote === 0) return;
      if (persistent.pagesRemote !== last) looks = 0;
      last = persistent.pagesRemote;
      await new Promise((done) => setTimeout(done, LOOK_MS));
    }
  }

  /** Records of pages in the cluster; what else is left has a time to live. */
  async records() {
    let count = 0;
    for (const master of await this.cluster.masters()) {
      const keys = await master.command("KEYS", "demo:*");
      count += keys.filter((key) => !/^demo:(m:|\{lease\})/.test(key)).length;
    }
    return count;
  }
}

async function demo() {
  const size = sizes();
  const why = missing();
  if (why !== undefined) {
    console.log(`demo:remote: not here: ${why}`);
    return;
  }
  const { startCluster } = await import(SERVERS);
  const folder = mkdtempSync(join(tmpdir(), "zcache-remote-"));
  undo.push(() => rmSync(folder, { recursive: true, force: true }));
  const cluster = await startCluster({ masters: 3, replicas: 1 });
  undo.push(() => cluster.end());
  say("a cluster on loopback: three masters, three replicas");
  const shown = new Demo(size, folder, cluster);
  await shown.attach();
  const all = Array.from({ length: FILES }, (_, file) => file);
  const write = (file) => shown.write(file);
  const compare = (file) => shown.compare(file);
  const kill = () => shown.killMaster();
  await shown.each("write", all, write, kill);
  await shown.sayFigures(`${FILES} files, ${Math.round((FILES * size.fileBytes) / MIB)} MiB`);
  await shown.check();
  await shown.each("compare", all, compare, kill);
  await shown.sayFigures("all files are as they were written");
  const kept = all.filter((file) => file % KEPT_OF === 0);
  const deleted = all.filter((file) => file % KEPT_OF !== 0);
  for (const file of deleted) await unlink(shown.nameOf(file));
  await run("sync", ["-f", shown.tree]);
  await shown.sayFigures(`${deleted.length} files are deleted`);
  await shown.repatriated();
  await shown.check();
  await shown.each("compare", kept, compare);
  const { counters } = await shown.stats();
  if (counters.lost_pages > 0) throw new Error(`${counters.lost_pages} pages are lost`);
  await shown.detach();
  const records = await shown.records();
  if (records > 0) throw new Error(`${records} records are left in the cluster`);
  say("detached, and no page is left in the cluster: two masters were killed, nothing was lost");
}

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  process.on(signal, () => {
    isInterrupted = true;
  });
}

const status = process.stdout.isTTY
  ? setInterval(() => process.stdout.write(`\r\x1b[K${seconds()}  ${doing}`), 500)
  : undefined;
try {
  await demo();
} catch (error) {
  say(`demo:remote: ${error.stderr?.trim() || error.message}`);
  process.exitCode = 1;
} finally {
  await undo.all();
  clearInterval(status);
}
