// `npm run demo:guest`: a Linux guest of 128 MiB whose swap and whose disk are devices of ours.
//
// `zcache serve nbd` → QEMU's own NBD client → virtio → Debian's kernel, which swaps to one device
// while a program writes and verifies more memory than there is, then makes a file system on the
// other, verifies checksums, deletes and trims. The host looks after each step at what is stored.
// QEMU translates the guest's code itself (TCG), so no virtualization is needed, nor root; it takes
// about a minute. Says what is missing (scripts/fetch-guest.sh fetches the kernel). All of it is
// undone at the end, whatever happens.
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { has, Undo } from "./demo.mjs";

const MIB = 1024 * 1024;
const GUEST_MIB = 128;
const SWAP_MIB = 256;
const DISK_MIB = 128;
/** What the program in the guest writes: half as much again as the guest has. */
const NEED_MIB = 160;
const START_MS = 20_000;
const GUEST_MS = 180_000;
const scripts = dirname(fileURLToPath(import.meta.url));
const CLI = join(scripts, "../dist/src/cli/main.js");
const GUEST = join(scripts, "../build/guest");
const QEMU = "qemu-system-x86_64";
const { S_IFDIR, S_IFREG, S_IFCHR } = { S_IFDIR: 0o040000, S_IFREG: 0o100000, S_IFCHR: 0o020000 };

/** One file of a cpio archive in the form "newc", which the kernel unpacks. */
function cpioEntry(name, mode, data = Buffer.alloc(0), [major, minor] = [0, 0]) {
  const size = Buffer.byteLength(name) + 1;
  const fields = [0, mode, 0, 0, 1, 0, data.length, 0, 0, major, minor, size, 0];
  const head = `070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}`;
  const padded = (bytes) => Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
  return Buffer.concat([padded(Buffer.from(`${head}${name}\0`)), padded(data)]);
}

function makeInitramfs(program) {
  const modules = readdirSync(join(GUEST, "modules")).sort();
  return gzipSync(
    Buffer.concat([
      ...["bin", "dev", "modules"].map((name) => cpioEntry(name, S_IFDIR | 0o755)),
      cpioEntry("dev/console", S_IFCHR | 0o600, undefined, [5, 1]),
      cpioEntry("bin/busybox", S_IFREG | 0o755, readFileSync(join(GUEST, "busybox"))),
      cpioEntry("init", S_IFREG | 0o755, readFileSync(join(scripts, "guest/init.sh"))),
      cpioEntry("need_much", S_IFREG | 0o755, readFileSync(program)),
      ...modules.map((name) =>
        cpioEntry(`modules/${name}`, S_IFREG | 0o644, readFileSync(join(GUEST, "modules", name))),
      ),
      cpioEntry("TRAILER!!!", 0),
    ]),
    { level: 1 },
  );
}

function missing() {
  if (process.arch !== "x64") return "the guest's kernel is for x86-64";
  const absent = [QEMU, "gcc"].filter((program) => !has(program));
  if (absent.length > 0) return `not installed: ${absent.join(", ")}`;
  if (!existsSync(join(GUEST, "vmlinuz"))) return "no kernel: scripts/fetch-guest.sh";
  if (!existsSync(CLI)) return "not built: npm run build";
  return undefined;
}

const undo = new Undo("demo:guest");

async function startServer(folder) {
  const socket = join(folder, "nbd.sock");
  const control = join(folder, "ctl");
  const exports = ["--export", `swap=${SWAP_MIB}M`, "--export", `disk=${DISK_MIB}M`];
  const more = ["--memory-max", "256M", "--recompress", "none", "--control", control];
  const args = [CLI, "serve", "nbd", ...exports, ...more, "--socket", socket];
  const server = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "inherit"] });
  undo.push(() => end(server));
  for (let waited = 0; !existsSync(control); waited += 50) {
    if (server.exitCode !== null || waited > START_MS) throw new Error("the server has not begun");
    await new Promise((done) => setTimeout(done, 50));
  }
  return { socket, control };
}

async function end(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = new Promise((done) => child.once("exit", done));
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), 5000);
  await exited;
  clearTimeout(timer);
}

/** Bytes of pages that are stored, and what they take compressed. */
function stored(control) {
  const args = [CLI, "ctl", "--socket", control, "mm_stat"];
  const text = execFileSync(process.execPath, args, { encoding: "utf8" });
  const [pages, compressed] = text.split("=")[1].split(" ").map(Number);
  return { pages, compressed };
}

function startGuest(folder, socket) {
  const program = join(folder, "need_much");
  execFileSync("gcc", ["-O2", "-static", "-o", program, join(scripts, "guest/need_much.c")]);
  const initramfs = join(folder, "initramfs");
  writeFileSync(initramfs, makeInitramfs(program));
  const drive = (name) => [
    "-drive",
    `driver=nbd,server.type=unix,server.path=${socket},export=${name},if=virtio,discard=unmap`,
  ];
  const kernel = ["-kernel", join(GUEST, "vmlinuz"), "-initrd", initramfs];
  const words = `console=ttyS0 quiet panic=-1 mitigations=off need_mib=${NEED_MIB}`;
  const machine = ["-machine", "pc,accel=tcg", "-cpu", "max", "-m", `${GUEST_MIB}M`, "-no-reboot"];
  const plain = ["-nodefaults", "-display", "none", "-serial", "stdio"];
  const args = [...machine, ...plain, ...kernel, "-append", words, ...drive("swap")];
  const guest = spawn(QEMU, [...args, ...drive("disk")], { stdio: ["pipe", "pipe", "inherit"] });
  undo.push(() => end(guest));
  return guest;
}

/** Reads the console until the guest ends. @returns what was stored after each step */
async function follow(guest, control) {
  const steps = [];
  let text = "";
  let line = "";
  const begin = performance.now();
  const status = process.stdout.isTTY
    ? setInterval(() => process.stdout.write(`\r${seconds(begin)} s …`), 1000)
    : undefined;
  const timer = setTimeout(() => guest.kill("SIGKILL"), GUEST_MS);
  guest.stdin.on("error", () => {});
  guest.stdout.on("data", (data) => {
    text += data;
    line += data;
    const lines = line.split(/\r*\n/);
    line = lines.pop();
    for (const said of lines.filter((one) => one.startsWith("guest: "))) {
      if (status !== undefined) process.stdout.write("\r");
      const step = said.slice(7);
      // The guest waits after each step; what else it says changes nothing.
      if (!/^(memory|swapped|swap |checksums|trimmed|over)/.test(step)) {
        console.log(`${seconds(begin)} s  ${step}`);
        continue;
      }
      const { pages, compressed } = stored(control);
      steps.push({ step, pages, compressed });
      const mib = (bytes) => (bytes / MIB).toFixed(1);
      console.log(`${seconds(begin)} s  ${step}: ${mib(pages)} MiB as ${mib(compressed)}`);
      guest.stdin.write("\n");
    }
  });
  const code = await new Promise((done) => guest.once("close", done));
  clearInterval(status);
  clearTimeout(timer);
  if (code === 0 && steps.at(-1)?.step === "over") return steps;
  throw new Error(`the guest has ended with ${code}:\n${text.slice(-2000)}`);
}

function seconds(begin) {
  return ((performance.now() - begin) / 1000).toFixed(0).padStart(4);
}

function need(fact, what) {
  if (!fact) throw new Error(what);
}

/** Compares what was stored after the steps with what the guest did. */
function judge(steps) {
  const after = (name) => steps.find(({ step }) => step.startsWith(name));
  const swapped = after("swapped");
  const discarded = after("swap discarded");
  const written = after("checksums");
  const trimmed = after("trimmed");
  const out = Number(/swapped (\d+) out/.exec(swapped.step)[1]);
  need(out > ((NEED_MIB - GUEST_MIB) * MIB) / 4096, `only ${out} pages were swapped out`);
  need(discarded.pages < 2 * MIB, `${discarded.pages} bytes of pages are left of the swap`);
  need(/^checksums 16 files agree/.test(written.step), written.step);
  need(trimmed.pages < written.pages / 2, `${trimmed.pages} of ${written.pages} after the trim`);
}

/** The host's own look at the file system that the guest has left, where it has the programs. */
function checkFileSystem(folder, socket) {
  if (!has("nbdcopy") || !has("fsck.ext4")) return;
  const image = join(folder, "disk");
  execFileSync("nbdcopy", [`nbd+unix:///disk?socket=${socket}`, image]);
  execFileSync("fsck.ext4", ["-f", "-n", image], { stdio: "pipe" });
  console.log("        fsck on the host: clean");
}

async function demo() {
  const why = missing();
  if (why !== undefined) {
    console.log(`demo:guest: not here: ${why}`);
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), "zcache-guest-"));
  undo.push(() => rmSync(folder, { recursive: true, force: true }));
  const { socket, control } = await startServer(folder);
  const steps = await follow(startGuest(folder, socket), control);
  judge(steps);
  checkFileSystem(folder, socket);
  console.log("demo:guest: the guest swapped, wrote and trimmed, and all of it was right");
}

undo.onSignals();

try {
  await demo();
} catch (error) {
  console.error(`demo:guest: ${error.message}`);
  process.exitCode = 1;
} finally {
  await undo.all();
}
