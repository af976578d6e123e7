// `npm run demo:swap`: a compressed device as real swap of this machine, for about ten seconds.
//
// `zcache attach --as swap`; then a program in a control group that may have half of the memory it
// needs writes and reads all of it, and verifies every page. Needs root, a memory control group,
// and what `zcache attach` needs; says what is missing. All of it is undone at the end, whatever
// happens.
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Undo } from "./demo.mjs";

const MIB = 1024 * 1024;
const PAGE = 4096;
const DEVICE_MIB = 512;
const DATA_MIB = 256;
/** Of which the program itself is about 50. */
const LIMIT_MIB = 160;
const SECONDS = 8;
const CLI = join(dirname(fileURLToPath(import.meta.url)), "../dist/src/cli/main.js");

/** Text-like pages, all different; each says which it is. */
function fillPage(words, at, page, round) {
  let state = (page * 2654435761 + round) >>> 0;
  for (let i = 0; i < PAGE / 4; i++) {
    if (i % 4 === 0) state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    words[at + i] = i % 4 === 0 ? state : page;
  }
}

/** The program that needs more than it has: runs in the control group. */
function needMuch() {
  const pages = (DATA_MIB * MIB) / PAGE;
  const words = new Uint32Array((DATA_MIB * MIB) / 4);
  const rounds = new Uint32Array(pages);
  const expected = new Uint32Array(PAGE / 4);
  for (let page = 0; page < pages; page++) fillPage(words, (page * PAGE) / 4, page, 0);
  let state = 1;
  let verified = 0;
  const check = (page) => {
    fillPage(expected, 0, page, rounds[page]);
    const at = (page * PAGE) / 4;
    for (let i = 0; i < PAGE / 4; i++) {
      if (words[at + i] !== expected[i]) throw new Error(`page ${page} came back with other bytes`);
    }
    verified++;
  };
  const end = performance.now() + SECONDS * 1000;
  while (performance.now() < end) {
    for (let n = 0; n < 256; n++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      const page = (state >>> 8) % pages;
      check(page);
      if (state % 4 === 0) fillPage(words, (page * PAGE) / 4, page, ++rounds[page]);
    }
  }
  const random = verified;
  for (let page = 0; page < pages; page++) check(page);
  console.log(JSON.stringify({ random, verified }));
}

const undo = new Undo("demo:swap", 100);

function run(program, ...args) {
  return execFileSync(program, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

/** A control group with a limit, of either version; undefined where there is none to be had. */
function makeGroup() {
  const name = `zcache-demo-${process.pid}`;
  const one = "/sys/fs/cgroup/memory";
  const two = "/sys/fs/cgroup";
  const isTwo = existsSync(`${two}/cgroup.controllers`);
  if (!isTwo && !existsSync(`${one}/memory.limit_in_bytes`)) return undefined;
  const group = join(isTwo ? two : one, name);
  try {
    if (isTwo) writeFileSync(`${two}/cgroup.subtree_control`, "+memory");
    mkdirSync(group);
    const limit = isTwo ? "memory.max" : "memory.limit_in_bytes";
    writeFileSync(join(group, limit), String(LIMIT_MIB * MIB));
  } catch {
    return undefined;
  }
  undo.push(() => rmdirSync(group));
  return group;
}

function missing() {
  if (process.getuid?.() !== 0) return "this needs root";
  if (!existsSync(CLI)) return "not built: npm run build";
  return undefined;
}

/** What the device holds, as `zcache list` shows it. */
function stat(device) {
  const args = ["list", "--noheadings", "--raw", "--output", "data,compr,total", device];
  const [data, compressed, total] = run(process.execPath, CLI, ...args)
    .trim()
    .split(" ");
  return `${data} of pages, ${compressed} compressed, ${total} in use`;
}

/** @returns the swap device; the reason for a failure is on stderr */
function attach() {
  const sizes = ["--size", `${DEVICE_MIB}M`, "--memory-max", `${DEVICE_MIB}M`];
  const args = [CLI, "attach", "--as", "swap", ...sizes, "--recompress", "none"];
  const stdio = ["ignore", "pipe", "inherit"];
  const { status, stdout } = spawnSync(process.execPath, args, { encoding: "utf8", stdio });
  if (status !== 0) throw new Error("no swap device was attached");
  const device = stdout.trim();
  undo.push(() => run(process.execPath, CLI, "detach", device));
  return device;
}

async function demo() {
  const why = missing();
  if (why !== undefined) {
    console.log(`demo:swap: not here: ${why}`);
    return;
  }
  const group = makeGroup();
  if (group === undefined) {
    console.log("demo:swap: not here: no memory control group can be made");
    return;
  }
  const device = attach();
  console.log(`${DATA_MIB} MiB of data in ${LIMIT_MIB} MiB of memory, swap on ${device}`);
  const script = `echo $$ > ${join(group, "cgroup.procs")} && exec "$@"`;
  const self = fileURLToPath(import.meta.url);
  const program = spawn("sh", ["-c", script, "sh", process.execPath, self, "--need-much"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  undo.push(() => program.kill("SIGKILL"));
  let text = "";
  program.stdout.on("data", (data) => {
    text += data;
  });
  const exited = new Promise((done) => program.once("exit", done));
  const timer = setInterval(() => console.log(`  ${stat(device)}`), 2000);
  const code = await exited;
  clearInterval(timer);
  if (code !== 0) throw new Error(`the program has ended with ${code}`);
  const { random, verified } = JSON.parse(text);
  console.log(`${verified} pages verified, ${Math.round(random / SECONDS)} at random per second`);
  const swaps = readFileSync("/proc/swaps", "utf8").trim().split("\n").at(-1);
  console.log(`the program has ended: ${swaps.replace(/\s+/g, " ")}`);
  console.log(`  ${stat(device)}`);
  run("swapoff", device);
  console.log(`after swapoff: ${stat(device)}`);
  run("blkdiscard", device);
  console.log(`after blkdiscard: ${stat(device)}`);
}

if (process.argv[2] === "--need-much") needMuch();
else {
  undo.onSignals();
  try {
    await demo();
  } catch (error) {
    console.error(`demo:swap: ${error.message}`);
    process.exitCode = 1;
  } finally {
    await undo.all();
  }
}
