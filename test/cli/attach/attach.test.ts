// What `attach`, `detach` and `list` ask of the machine and of the user: requirements, flags,
// tables of /proc, control groups, the table of `list`.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import {
  ALL_COLUMNS,
  DEFAULT_COLUMNS,
  humanSize,
  jsonOf,
  parseColumns,
  tableOf,
} from "../../../src/cli/attach/columns.ts";
import type { DeviceFigures } from "../../../src/cli/attach/device_figures.ts";
import { fullGroups, removeSwaplessGroup, swaplessGroup } from "../../../src/cli/attach/group.ts";
import { lastLine } from "../../../src/cli/attach/log.ts";
import {
  parseAvailable,
  parseHandles,
  parseMappedFiles,
  parseMounts,
  parseSwaps,
} from "../../../src/cli/attach/proc.ts";
import { reportProtection } from "../../../src/cli/attach/protection.ts";
import { checkRequirements, type Wanted } from "../../../src/cli/attach/requirements.ts";
import { type Attached, StateFolder } from "../../../src/cli/attach/state.ts";
import { FakeMachine } from "../../doubles/fake_machine.ts";
import { temporaryFolder } from "../../doubles/temporary_folder.ts";

const MAIN = fileURLToPath(new URL("../../../src/cli/main.js", import.meta.url));
const TIMEOUT_MS = 240_000;
const folder = temporaryFolder("attach");

function zcache(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
    encoding: "utf8",
    timeout: TIMEOUT_MS,
    env: { ...process.env, ZCACHE_RUNTIME_DIR: join(folder, "run") },
  });
  return { status, stdout, stderr };
}

const DISK: Wanted = { as: "disk", driver: "auto", mkfs: "xfs", mount: "/mnt/a" };
const SWAP: Wanted = { as: "swap", driver: "auto", mkfs: undefined, mount: undefined };

function contextOf(machine: FakeMachine, warnings: string[] = []) {
  const states = new StateFolder(join(folder, "states"));
  return { machine, states, signal: undefined, warn: (text: string) => warnings.push(text) };
}

test("what is missing is named at once, with the command that installs it", async () => {
  const cases: readonly (readonly [missing: string[], wanted: Wanted, message: string])[] = [
    [
      ["nbd-client", "nbdfuse", "mkfs.xfs", "mount"],
      { ...DISK, driver: "nbdfuse" },
      "not installed: nbdfuse, mkfs.xfs, mount; install with: \
apt-get install libnbd-bin xfsprogs mount",
    ],
    [
      ["mkswap", "blkid"],
      SWAP,
      "not installed: blkid, mkswap; install with: apt-get install util-linux",
    ],
    [["mkfs.odd"], { ...DISK, mkfs: "odd" }, "not installed: mkfs.odd"],
    [
      ["nbd-client"],
      { ...DISK, driver: "nbd" },
      "not installed: nbd-client; install with: apt-get install nbd-client",
    ],
  ];
  for (const [missing, wanted, message] of cases) {
    const machine = new FakeMachine();
    for (const program of missing) machine.missing.add(program);
    await assert.rejects(checkRequirements(contextOf(machine), wanted), {
      code: "ERR_SYSTEM",
      message,
    });
  }
});

test("root, drivers of the kernel and the mount point are checked first", async () => {
  const machine = new FakeMachine();
  const check = (wanted: Wanted) => checkRequirements(contextOf(machine), wanted);
  machine.isRoot = false;
  await assert.rejects(check(DISK), { code: "ERR_SYSTEM", message: /by root only.*sudo$/ });
  machine.isRoot = true;
  await assert.rejects(check({ ...DISK, mount: "/mnt/none" }), {
    code: "ERR_OPTION",
    message: "--mount: there is no folder /mnt/none; make it with: mkdir -p /mnt/none",
  });
  machine.mounted.push({ device: "/dev/sda", target: "/mnt/a", isFuse: false });
  await assert.rejects(check(DISK), { message: "--mount: /mnt/a is a mount point already" });
  machine.mounted.pop();
  await assert.rejects(check({ ...DISK, driver: "nbd" }), { message: /there is no \/dev\/nbd0/ });
  for (const file of ["/dev/fuse", "/dev/loop-control"]) {
    machine.files.delete(file);
    await assert.rejects(check(DISK), { message: new RegExp(`there is no ${file}: this kernel`) });
    machine.files.add(file);
  }
  machine.files.delete("/proc/swaps");
  await assert.rejects(check(SWAP), { message: "this kernel has no swap" });
  assert.ok(machine.ran.every((line) => line.startsWith("modprobe")));
});

test("the kernel's nbd is chosen where it is or can be loaded, nbdfuse elsewhere", async () => {
  const choose = (machine: FakeMachine) => checkRequirements(contextOf(machine), DISK);
  const machine = new FakeMachine();
  assert.equal(await choose(machine), "nbdfuse");
  assert.deepEqual(machine.ran, ["modprobe nbd"]);
  machine.addNbd("/dev/nbd0");
  assert.equal(await choose(machine), "nbd");
  machine.missing.add("nbd-client");
  assert.equal(await choose(machine), "nbdfuse");
  // Neither program is there: the kernel has its driver, so its client is what is missing.
  machine.missing.add("nbdfuse");
  await assert.rejects(choose(machine), { message: /not installed: nbd-client;/ });
  const loads = new FakeMachine();
  const run = loads.run.bind(loads);
  loads.run = async (program, args, how) => {
    if (program !== "modprobe") return run(program, args, how);
    loads.addNbd("/dev/nbd0");
    return "";
  };
  assert.equal(await choose(loads), "nbd");
});

test("what protects the daemon is reported once if it is not permitted", async () => {
  const machine = new FakeMachine();
  const warnings: string[] = [];
  const context = contextOf(machine, warnings);
  const server = await machine.start({
    ...{ program: "node", args: [`--control=${context.states.pathsOf("zcache0").control}`] },
    ...{ log: "", mark: "m", group: { procs: undefined, refusal: undefined } },
  });
  await machine.pause();
  const record: Attached = { ...RECORD, as: "swap", server };
  await reportProtection(context, record, { procs: "p", refusal: undefined });
  assert.deepEqual(warnings, []);
  machine.oomScoreOf = () => 0;
  machine.ask = async () => ({ memory_lock: "Cannot find module 'koffi'" });
  await reportProtection(context, record, {
    procs: undefined,
    refusal: "no memory control groups",
  });
  assert.deepEqual(warnings, [
    "warning: not permitted here: a control group without swap (no memory control groups), \
locked memory (Cannot find module 'koffi'), oom_score_adj -900; under memory pressure the machine \
may hang",
  ]);
});

test("a control group that does not swap, of either version", () => {
  const root = join(folder, "cgroup");
  assert.deepEqual(swaplessGroup("a", root), {
    procs: undefined,
    refusal: "no memory control groups",
  });
  const two = join(root, "two");
  mkdirSync(two, { recursive: true });
  for (const file of ["cgroup.controllers", "cgroup.subtree_control"]) {
    writeFileSync(join(two, file), "");
  }
  const group = swaplessGroup("a", two);
  assert.deepEqual(group, { procs: join(two, "a/cgroup.procs"), refusal: undefined });
  assert.equal(readFileSync(join(two, "a/memory.swap.max"), "utf8"), "0");
  const one = join(root, "one");
  mkdirSync(join(one, "memory"), { recursive: true });
  writeFileSync(join(one, "memory/memory.limit_in_bytes"), "");
  assert.equal(swaplessGroup("a", one).procs, join(one, "memory/a/cgroup.procs"));
  assert.equal(readFileSync(join(one, "memory/a/memory.swappiness"), "utf8"), "0");
  rmSync(join(one, "memory/a/memory.swappiness"));
  assert.equal(removeSwaplessGroup("a", one), true);
  assert.ok(!existsSync(join(one, "memory/a")));
  assert.equal(removeSwaplessGroup("a", one), true, "there is none");
  // A folder in the place of the file refuses the setting; the group is used all the same.
  mkdirSync(join(one, "memory/b/memory.swappiness"), { recursive: true });
  const half = swaplessGroup("b", one);
  assert.equal(half.procs, join(one, "memory/b/cgroup.procs"));
  assert.match(half.refusal!, /EISDIR/);
});

test("groups without room for their swapped pages are found, in either version", () => {
  const root = join(folder, "full");
  const group = (path: string, files: Readonly<Record<string, string>>) => {
    mkdirSync(join(root, path), { recursive: true });
    for (const [name, text] of Object.entries(files)) writeFileSync(join(root, path, name), text);
  };
  const one = (limit: number, rss: number, swap: number) => ({
    "memory.stat": `cache 9\nrss 0\nhierarchical_memory_limit ${limit}\ntotal_rss ${rss}\n\
total_swap ${swap}\n`,
  });
  group("one/memory", { "memory.limit_in_bytes": "" });
  group("one/memory/a", one(100, 60, 40));
  group("one/memory/a/b", one(100, 61, 40));
  group("one/memory/uncounted", { "memory.stat": "cache 9\n" });
  assert.deepEqual(fullGroups(join(root, "one")), [
    { name: "a/b", swappedBytes: 40, roomBytes: 39 },
  ]);
  const two = (max: string, anon: number, swap: number) => ({
    ...{ "memory.max": `${max}\n`, "memory.stat": `anon ${anon}\nfile 9\n` },
    "memory.swap.current": `${swap}\n`,
  });
  group("two", { "cgroup.controllers": "memory" });
  group("two/a", two("max", 60, 40));
  group("two/a/b", two("50", 60, 40));
  assert.deepEqual(fullGroups(join(root, "two")), [
    { name: "a/b", swappedBytes: 40, roomBytes: 0 },
  ]);
  assert.deepEqual(fullGroups(join(root, "none")), []);
});

test("tables of /proc are read, with any characters in names", () => {
  assert.deepEqual(
    parseMounts(
      "43 27 7:1 / /mnt/with\\040space\\134 rw,relatime shared:1 - ext4 /dev/loop1 rw\n\n1 2\n",
    ),
    [{ number: "7:1", target: "/mnt/with space\\", type: "ext4" }],
  );
  const swaps =
    "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n" +
    "/dev/loop2                              partition\t262140\t\t1024\t\t100\n";
  assert.deepEqual(parseSwaps(swaps), [
    { device: "/dev/loop2", usedBytes: 1024 * 1024, freeBytes: (262140 - 1024) * 1024 },
  ]);
  assert.equal(parseAvailable("MemTotal: 9 kB\nMemAvailable:   2048 kB\n"), 2 * 1024 * 1024);
  assert.equal(parseHandles("SigCgt:\t0000000000004000\n", 15), true);
  assert.equal(parseHandles("SigCgt:\t0000000188000203\n", 15), false);
  assert.deepEqual(
    parseMappedFiles(
      "7f0-7f1 r-xp 00000000 08:01 1234                       /usr/lib/a b.so\n" +
        "7f2-7f3 rw-p 0 0:0 0 [heap]\n",
    ),
    ["/usr/lib/a b.so"],
  );
});

test("the last error of a log is found", () => {
  const log = join(folder, "log");
  assert.equal(lastLine(log), "no log");
  for (const [text, line] of [
    ["", "without a word"],
    ["nbd on x\nzcache: warning: a\nzcache: the reason\nzcache: warning: b\n", "the reason"],
    [
      "nbdfuse: operations.c:208: Assertion failed\n\n",
      "nbdfuse: operations.c:208: Assertion failed",
    ],
  ] as const) {
    writeFileSync(log, text);
    assert.equal(lastLine(log), line);
  }
});

const RECORD: Attached = {
  id: "zcache0",
  phase: "attached",
  as: "disk",
  driver: "nbdfuse",
  sizeBytes: 8 * 1024 ** 3,
  memoryMax: 1536 * 1024 ** 2,
  codec: "lz4",
  threads: 2,
  hasImage: false,
  device: "/dev/loop0",
  since: "2026-01-01T00:00:00.000Z",
};
const FIGURES: DeviceFigures = {
  record: RECORD,
  state: "active",
  memory: [339_968, 74, 4096, 0, 8192, 3, 5, 0, 0],
  mountPoint: "/mnt/a b",
  log: "/run/zcache/zcache0.log",
};
const { device: _, ...unconnected } = RECORD;
const BEGUN: DeviceFigures = {
  ...{ record: { ...unconnected, id: "zcache1" }, state: "attaching", log: "/l" },
  ...{ memory: undefined, mountPoint: undefined },
};

test("the table has the columns and sizes of zramctl", () => {
  const style = { columns: DEFAULT_COLUMNS, bytes: false, headings: true, raw: false };
  assert.equal(
    tableOf([FIGURES, BEGUN], style),
    "\
NAME        ALGORITHM  DISKSIZE  DATA  COMPR  TOTAL  STREAMS  STATE      MOUNTPOINT\n\
/dev/loop0  lz4              8G  332K    74B     4K        2  active     /mnt/a b\n\
zcache1     lz4              8G                            2  attaching\n",
  );
  assert.equal(tableOf([], style), "");
  assert.equal(
    tableOf([FIGURES], { ...style, columns: ["DATA", "MOUNTPOINT"], bytes: true, headings: false }),
    "339968  /mnt/a b\n",
  );
  assert.equal(
    tableOf([FIGURES], { ...style, columns: ["NAME", "MOUNTPOINT"], raw: true }),
    "NAME MOUNTPOINT\n/dev/loop0 /mnt/a\\x20b\n",
  );
  const columns = ["NAME", "DATA", "MEM-LIMIT", "ZERO-PAGES", "PID"];
  assert.deepEqual(jsonOf([FIGURES, BEGUN], { columns, bytes: true }), {
    devices: [
      {
        ...{ name: "/dev/loop0", data: 339_968, "mem-limit": 1536 * 1024 ** 2 },
        ...{ "zero-pages": 3, pid: null },
      },
      { name: "zcache1", data: null, "mem-limit": 1536 * 1024 ** 2, "zero-pages": null, pid: null },
    ],
  });
  const [human] = (jsonOf([FIGURES], { columns, bytes: false }) as { devices: object[] }).devices;
  assert.deepEqual(human, { ...human, data: "332K", "mem-limit": "1.5G" });
});

test("columns are chosen by name", () => {
  assert.deepEqual(parseColumns("name,Data"), ["NAME", "DATA"]);
  assert.deepEqual(parseColumns("+log"), [...DEFAULT_COLUMNS, "LOG"]);
  assert.throws(() => parseColumns("NAME,SIZE"), {
    code: "ERR_OPTION",
    message: `--output: "SIZE" is not a column; write ${ALL_COLUMNS.join(", ")}`,
  });
});

test("sizes have one decimal at most, and a unit that keeps them below 1024", () => {
  for (const [bytes, text] of [
    [0, "0B"],
    [1023, "1023B"],
    [1024, "1K"],
    [1024 ** 2 - 1, "1M"],
    [1.25 * 1024 ** 2, "1.3M"],
    [8 * 1024 ** 3, "8G"],
    [3 * 1024 ** 4, "3T"],
  ] as const) {
    assert.equal(humanSize(bytes), text);
  }
  const factors = { B: 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3, T: 1024 ** 4 };
  fc.assert(
    fc.property(fc.nat({ max: 2 ** 40 }), (bytes) => {
      const [, number, unit] = /^([\d.]+)([BKMGT])$/.exec(humanSize(bytes))!;
      const factor = factors[unit as keyof typeof factors];
      assert.ok(Number(number) < 1024);
      assert.ok(Math.abs(Number(number) * factor - bytes) <= factor / 20 + 1e-6);
    }),
  );
});

test("flags are those of serve nbd, with their errors, and own ones", () => {
  const help = zcache("attach", "--help").stdout;
  for (const flag of ["--size", "--memory-max", "--codec", "--write-back", "--image", "--shards"]) {
    assert.match(help, new RegExp(`^ {2}${flag} <`, "m"));
  }
  assert.match(help, /--size <size>.*\n?.*default: 8G/);
  assert.match(help.replace(/\s+/g, " "), /--memory-max <size\|%> .*?\(default: 25%\)/);
  for (const flag of ["--socket ", "--listen", "--tls", "--export", "--lock-memory"]) {
    assert.ok(!help.includes(flag), flag);
  }
  for (const [args, message] of [
    [["--size", "much"], /^zcache: --size: "much" is not a size/],
    [["--memory-max", "0%"], /^zcache: --memory-max: "0%" is not allowed; write a size, or 1%/],
    [["--codec", "lz5"], /^zcache: --codec: "lz5" is not allowed; write one of/],
    [["--as", "tape"], /^zcache: option '--as <use>' argument 'tape' is invalid/],
    [["--as", "swap", "--mkfs", "ext4"], /^zcache: --mkfs: a swap device has no file system/],
    [["--as", "swap", "--mount", "/mnt"], /^zcache: --mount: a swap device has no file system/],
    [["--mkfs", "../sh"], /^zcache: --mkfs: "\.\.\/sh" is not allowed; write a type, such as ext4/],
    [["--priority", "-2"], /^zcache: --priority: "-2" is not allowed; write a whole number/],
    [["--id", "a.b"], /^zcache: --id: "a\.b" is not allowed; write up to 32 letters/],
  ] as const) {
    const { status, stdout, stderr } = zcache("attach", ...args);
    assert.match(stderr, message);
    assert.equal(stdout, "");
    assert.equal(status, 2);
  }
});

test("detach and list without a device", () => {
  for (const [args, message] of [
    [["detach"], /^zcache: detach: name devices, or give --all\n$/],
    [["detach", "--all", "x"], /^zcache: detach: name devices, or give --all\n$/],
    [["detach", "/dev/loop0"], /^zcache: "\/dev\/loop0" is not a device of zcache; none is/],
    [["list", "/dev/loop0"], /is not a device of zcache; none is attached\n$/],
    [["list", "-o", "SIZE"], /^zcache: --output: "SIZE" is not a column; write NAME, /],
  ] as const) {
    const { status, stdout, stderr } = zcache(...args);
    assert.match(stderr, message);
    assert.equal(stdout, "");
    assert.equal(status, 2);
  }
  assert.deepEqual(zcache("detach", "--all"), { status: 0, stdout: "", stderr: "" });
  assert.deepEqual(zcache("list"), { status: 0, stdout: "", stderr: "" });
  assert.deepEqual(JSON.parse(zcache("list", "--json").stdout), { devices: [] });
  assert.match(zcache("list", "--help").stdout, /ZERO-PAGES {2}pages that repeat one word/);
});
