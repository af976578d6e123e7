// `zcache attach`, `detach` and `list` on this machine: real block devices, file systems and swap,
// by nbdfuse and a loop device. What is missing skips the tests by name.
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { without } from "../../bench/programs.ts";
import { removeSwaplessGroup, swaplessGroup } from "../../src/cli/attach/group.ts";
import { LinuxMachine } from "../../src/cli/attach/linux.ts";
import { type Attached, StateFolder } from "../../src/cli/attach/state.ts";
import { temporaryFolder } from "../doubles/temporary_folder.ts";

const MAIN = fileURLToPath(new URL("../../src/cli/main.js", import.meta.url));
const TIMEOUT_MS = 240_000;
const LOOK_MS = 20;
const MIB = 1024 * 1024;
const folder = temporaryFolder("attach");
const run = join(folder, "run");
const tree = join(folder, "tree");
mkdirSync(tree);
const env = { ...process.env, ZCACHE_RUNTIME_DIR: run };
const states = new StateFolder(run);
const machine = new LinuxMachine();
const SIZES = ["--size", "64M", "--memory-max", "48M"];
const DISK = [...SIZES, "--driver", "nbdfuse", "--mkfs", "ext4", "--mount", tree];

const canAttach = process.getuid?.() === 0 && existsSync("/dev/fuse") && existsSync("/dev/loop0");
const skip =
  without("nbdfuse", "losetup", "mkfs.ext4", "mount", "umount", "blkid") ||
  (!canAttach && process.env["CI"] !== "true" && "needs root, FUSE and a loop device");
const skipSwap =
  skip ||
  without("mkswap", "swapon", "swapoff") ||
  (!existsSync("/proc/swaps") && "this kernel has no swap");
const skipNbd =
  skip || without("nbd-client") || (!existsSync("/dev/nbd0") && "this kernel has no nbd driver");

interface Result {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function zcache(...args: string[]): Result {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
    encoding: "utf8",
    timeout: TIMEOUT_MS,
    env,
  });
  return { status, stdout, stderr };
}

function attach(...args: string[]): string {
  const { status, stdout, stderr } = zcache("attach", ...args);
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^\/dev\/\w+\n$/, "in a pipe, the device alone");
  return stdout.trim();
}

function detach(...args: string[]): void {
  const { status, stdout, stderr } = zcache("detach", ...args);
  assert.equal(status, 0, stderr);
  assert.equal(stdout, "");
}

function listed(...args: string[]): Record<string, unknown>[] {
  const { status, stdout, stderr } = zcache("list", "--json", "--bytes", "--output-all", ...args);
  assert.equal(status, 0, stderr);
  return (JSON.parse(stdout) as { devices: Record<string, unknown>[] }).devices;
}

/** No process, mount, loop device, swap, group or state file of any device is left. */
function assertNothing(): void {
  assert.deepEqual(states.ids(), []);
  const below = (path: string) => path.startsWith(`${folder}/`);
  assert.deepEqual(
    machine.mounts().filter(({ target }) => below(target)),
    [],
  );
  assert.deepEqual(
    machine.loops().filter(({ file }) => below(file)),
    [],
  );
  for (const id of ["zcache0", "zcache1"]) {
    assert.deepEqual(machine.marked(states.pathsOf(id).folder), []);
  }
  assert.deepEqual(groups(), []);
}

/** The control groups of the devices of this file. */
function groups(): string[] {
  const tops = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"].filter(existsSync);
  const name = run.slice(1).replaceAll("/", "-");
  return tops.flatMap((top) => readdirSync(top).filter((one) => one.startsWith(name)));
}

async function until(isTrue: () => boolean, what: string): Promise<void> {
  for (let waited = 0; !isTrue(); waited += LOOK_MS) {
    assert.ok(waited < TIMEOUT_MS, `${what}: not in time`);
    await new Promise((done) => setTimeout(done, LOOK_MS));
  }
}

function recordOf(id = "zcache0"): Attached | undefined {
  return existsSync(states.pathsOf(id).state) ? states.read(id) : undefined;
}

after(() => {
  if (skip === false) zcache("detach", "--all", "--force");
});

test("a disk: made, mounted, used, listed, and detached by its mount point", { skip }, () => {
  const device = attach(...DISK);
  const data = Buffer.alloc(8 * MIB, "what a disk holds ");
  writeFileSync(join(tree, "data"), data);
  execFileSync("sync", ["-f", tree]);
  const [one] = listed();
  assert.equal(one!["name"], device);
  assert.equal(one!["disksize"], 64 * MIB);
  assert.equal(one!["mem-limit"], 48 * MIB);
  assert.equal(one!["state"], "active");
  assert.equal(one!["mountpoint"], tree);
  assert.ok(Number(one!["data"]) > 8 * MIB, `${one!["data"]} bytes are stored`);
  assert.ok(Number(one!["compr"]) < 4 * MIB, `as ${one!["compr"]}`);
  assert.match(zcache("list", "-n", "-o", "name,mountpoint", device).stdout, /^\/dev.*tree\n$/);
  assert.match(readFileSync(String(one!["log"]), "utf8"), /^nbd on /m);
  const again = zcache("attach", ...DISK);
  assert.equal(again.status, 2);
  assert.match(again.stderr, /^zcache: --mount: .* is a mount point already\n$/);
  assert.ok(readFileSync(join(tree, "data")).equals(data));
  // Where no group is permitted, attach has said so.
  const tried = `zcache-test-${process.pid}`;
  if (swaplessGroup(tried).procs !== undefined) assert.equal(groups().length, 1);
  removeSwaplessGroup(tried);
  detach(tree);
  assertNothing();
  const twice = zcache("detach", device);
  assert.equal(twice.status, 2);
  assert.match(twice.stderr, /is not a device of zcache; none is attached\n$/);
  assert.equal(zcache("list").stdout, "");
});

test("two devices at once, detached together", { skip }, () => {
  const devices = [attach(...SIZES), attach(...SIZES, "--id", "second")];
  assert.notEqual(devices[0], devices[1]);
  assert.deepEqual(
    listed().map(({ name, id }) => [name, id]),
    [
      [devices[0], "zcache0"],
      [devices[1], "second"],
    ].sort((a, b) => a[1]!.localeCompare(b[1]!)),
  );
  detach("--all");
  assertNothing();
});

test("two attaches at the same moment have a device each", { skip }, async () => {
  const results = await Promise.all(
    [0, 1].map(async () => {
      const child = spawn(process.execPath, [MAIN, "attach", ...SIZES], {
        env,
        stdio: ["ignore", "pipe", "ignore"],
      });
      let said = "";
      child.stdout.on("data", (text) => {
        said += text;
      });
      const code = await new Promise<number | null>((done) => child.once("close", done));
      return { code, device: said.trim() };
    }),
  );
  assert.deepEqual(
    results.map(({ code }) => code),
    [0, 0],
  );
  assert.notEqual(results[0]!.device, results[1]!.device);
  const names = listed().map(({ name }) => name);
  assert.deepEqual(new Set(names), new Set(results.map(({ device }) => device)));
  detach("--all");
  assertNothing();
});

test("a user who is not root sees the device, and may not attach or detach", { skip }, () => {
  const device = attach(...SIZES);
  chmodSync(folder, 0o755);
  const asNobody = (...args: string[]) =>
    spawnSync(process.execPath, [MAIN, ...args], {
      ...{ encoding: "utf8", timeout: TIMEOUT_MS, env, uid: 65534, gid: 65534 },
    });
  const { status, stdout, stderr } = asNobody("list", "--json");
  assert.equal(status, 0, stderr);
  const [one] = (JSON.parse(stdout) as { devices: Record<string, unknown>[] }).devices;
  assert.deepEqual([one!["name"], one!["state"], one!["data"]], [device, "active", null]);
  for (const args of [["attach"], ["detach", device]]) {
    const refused = asNobody(...args);
    assert.equal(refused.status, 1);
    assert.match(refused.stderr, /^zcache: .* root only; run this with sudo\n$/);
  }
  detach(device);
  assertNothing();
});

test("a device in use stays, and the error names the process", { skip }, async () => {
  const device = attach(...DISK);
  writeFileSync(join(tree, "open"), "x");
  const user = spawn("tail", ["-f", join(tree, "open")], { stdio: ["ignore", "pipe", "ignore"] });
  try {
    await new Promise((read) => user.stdout.once("data", read));
    const { status, stderr } = zcache("detach", device);
    assert.equal(status, 1);
    assert.ok(stderr.includes(`${device} is in use: tail (${user.pid}) use ${tree}`), stderr);
    assert.equal(listed()[0]!["state"], "active");
    assert.equal(readFileSync(join(tree, "open"), "utf8"), "x");
  } finally {
    await ended(user);
  }
  detach(device);
  assertNothing();
});

async function ended(child: ChildProcess): Promise<void> {
  const exited = new Promise((done) => child.once("exit", done));
  child.kill("SIGKILL");
  if (child.exitCode === null && child.signalCode === null) await exited;
}

test("a device that is opened without being mounted is in use too", { skip }, async () => {
  const device = attach(...SIZES);
  const user = spawn("sh", ["-c", `exec 3<${device}; echo open; read x`], {
    stdio: ["pipe", "pipe", "ignore"],
  });
  try {
    await new Promise((read) => user.stdout.once("data", read));
    const { status, stderr } = zcache("detach", device);
    assert.equal(status, 1);
    assert.ok(stderr.includes(`${device} is in use: by sh (${user.pid})`), stderr);
  } finally {
    await ended(user);
  }
  detach(device);
  assertNothing();
});

test("swap: in use by the system, and gone after detach", { skip: skipSwap }, () => {
  const device = attach(...SIZES, "--as", "swap", "--priority", "1");
  assert.match(readFileSync("/proc/swaps", "utf8"), new RegExp(`^${device}\\s.*\\s1$`, "m"));
  assert.equal(listed()[0]!["mountpoint"], "[SWAP]");
  detach(device);
  assert.ok(!readFileSync("/proc/swaps", "utf8").includes(device));
  assertNothing();
});

test("the daemon is killed below a mounted file system: list says so, detach cleans up", {
  skip,
}, async () => {
  const device = attach(...DISK);
  const { server } = recordOf()!;
  process.kill(server!.pid, "SIGKILL");
  await until(() => !machine.isAlive(server!), "the end of the daemon");
  const [one] = listed();
  assert.deepEqual([one!["state"], one!["mountpoint"], one!["data"]], ["failed", tree, null]);
  detach(device);
  assertNothing();
});

test("a daemon that hangs is shown, and detached with --force", { skip }, () => {
  const device = attach(...SIZES);
  const { server } = recordOf()!;
  process.kill(server!.pid, "SIGSTOP");
  assert.equal(listed()[0]!["state"], "hung");
  detach("--force", device);
  assertNothing();
});

/** What is there before attach is killed or ended. */
const MOMENTS: readonly (readonly [what: string, isThere: () => boolean])[] = [
  ["the state file", () => recordOf() !== undefined],
  ["the daemon", () => recordOf()?.server !== undefined],
  ["nbdfuse", () => recordOf()?.fuse !== undefined],
  ["the block device", () => recordOf()?.device !== undefined],
  ["the mount", () => machine.mounts().some(({ target }) => target === tree)],
];

for (const [what, isThere] of MOMENTS) {
  for (const signal of ["SIGKILL", "SIGTERM"] as const) {
    test(`attach ends by ${signal} when there is ${what}`, { skip }, async () => {
      const child = spawn(process.execPath, [MAIN, "attach", ...DISK], { env, stdio: "ignore" });
      const exited = new Promise<number | null>((done) => child.once("exit", done));
      await until(isThere, what);
      child.kill(signal);
      const code = await exited;
      if (signal === "SIGTERM") {
        // The signal may come after the last step, even when the process is exiting.
        if (recordOf()?.phase === "attached") detach(tree);
        else assert.equal(code, 143);
        assertNothing();
        return;
      }
      const [one] = listed();
      assert.ok(["interrupted", "active"].includes(String(one!["state"])), String(one!["state"]));
      if (one!["state"] === "active") detach(tree);
      // The next attach takes the same place.
      const { status, stderr } = zcache("attach", ...DISK);
      assert.equal(status, 0, stderr);
      assert.deepEqual(states.ids(), ["zcache0"]);
      detach(tree);
      assertNothing();
    });
  }
}

test("attach killed at the block device: detach removes it", { skip }, async () => {
  const child = spawn(process.execPath, [MAIN, "attach", ...DISK], { env, stdio: "ignore" });
  const exited = new Promise((done) => child.once("exit", done));
  await until(() => recordOf()?.device !== undefined, "the block device");
  child.kill("SIGKILL");
  await exited;
  detach("--all");
  assertNothing();
});

test("an image: saved by detach, and attached again with its file system", { skip }, () => {
  const image = ["--image", join(folder, "image")];
  attach(...DISK, ...image);
  writeFileSync(join(tree, "kept"), "kept");
  detach(tree);
  assertNothing();
  const refused = zcache("attach", ...DISK, ...image);
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /has a file system already \(ext4\); omit --mkfs\n$/);
  assertNothing();
  attach(...SIZES, "--mount", tree, ...image);
  assert.equal(readFileSync(join(tree, "kept"), "utf8"), "kept");
  detach(tree);
  assertNothing();
});

test("a daemon that can't start, and a mount that fails: one line, and nothing is left", {
  skip,
}, () => {
  for (const [args, message] of [
    [["--size", "64M", "--image", "/no/such/folder/image"], /the daemon has ended: .*no folder/],
    [[...SIZES, "--mount", tree], /^zcache: mount: .*wrong fs type/m],
  ] as const) {
    const { status, stdout, stderr } = zcache("attach", ...args);
    assert.equal(status, 1, stderr);
    assert.match(stderr, message);
    assert.doesNotMatch(stderr, /^ {4}at /m);
    assert.equal(stdout, "");
    assertNothing();
  }
});

test("by the kernel's nbd driver", { skip: skipNbd }, () => {
  const device = attach(...SIZES, "--driver", "nbd", "--mkfs", "ext4", "--mount", tree);
  assert.match(device, /^\/dev\/nbd/);
  writeFileSync(join(tree, "data"), "x");
  assert.equal(listed()[0]!["driver"], "nbd");
  detach(tree);
  assertNothing();
});
