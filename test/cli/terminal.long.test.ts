// The output of commands for any input: it has no control characters, a failed write is one line,
// and without a daemon the line says what to do.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { printable, printableJson, printableLines } from "../../src/base/printable.ts";
import { machineMemory, memoryWarning } from "../../src/node/machine_memory.ts";
import { temporaryFolder } from "../doubles/temporary_folder.ts";
import { MAIN } from "./serve/fixture.ts";

const folder = temporaryFolder("terminal");
const TIMEOUT_MS = 120_000;
/** Control and direction characters, except line breaks. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: the test looks for control characters
const OBEYED = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]/;
const EVIL = "\x1b[31m\x9b2J\x07\u202eevil\x7f";

function zcache(args: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
    encoding: "utf8",
    timeout: TIMEOUT_MS,
    cwd: folder,
  });
  return { status, stdout, stderr };
}

/** With bytes in its arguments that are no UTF-8, and redirections. */
function shell(script: string) {
  const { status, stdout, stderr } = spawnSync("bash", ["-c", script], {
    encoding: "utf8",
    timeout: TIMEOUT_MS,
    cwd: folder,
    env: { ...process.env, NODE: process.execPath, MAIN },
  });
  return { status, stdout, stderr };
}

function checkHarmless(text: string, what: string): void {
  assert.doesNotMatch(text, OBEYED, `${what}: ${JSON.stringify(text.slice(0, 2000))}`);
}

test("printable text has no control characters, and JSON reads back the same", () => {
  const any = fc.string({ unit: "binary", maxLength: 200 });
  const controls = fc.array(fc.integer({ min: 0, max: 0x2069 })).map((codes) => {
    return String.fromCharCode(...codes);
  });
  fc.assert(
    fc.property(fc.oneof(any, controls), (text) => {
      assert.doesNotMatch(printable(text), OBEYED);
      assert.doesNotMatch(printable(text), /[\n\t]/);
      assert.doesNotMatch(printableLines(text), OBEYED);
      assert.equal(printableLines(text).split("\n").length, text.split("\n").length);
      assert.equal(printable(printable(text)), printable(text));
      assert.doesNotMatch(printableJson({ [text]: text }, 2), OBEYED);
      assert.deepEqual(JSON.parse(printableJson({ [text]: text }, 2)), { [text]: text });
    }),
  );
  assert.equal(printable("plain text, ünï©ode — ok 👍"), "plain text, ünï©ode — ok 👍");
});

test("analyze reads files whose names are not UTF-8 or have control characters", () => {
  const made = shell(`mkdir t "t/$(printf 'dir\\xff')" && for name in 'lat\\xe9in' 'new\\nline' \\
    'esc\\x1b[31mred' 'c1\\xc2\\x9b31m' 'dir\\xff/x' 'ok'; do
    head -c 8192 "$NODE" > "t/$(printf "$name")"; done
    mkfifo "t/$(printf 'pipe\\x1b[31m\\nred\\xe9')"`);
  assert.equal(made.status, 0, made.stderr);
  const flags = ["--codec", "lz4", "--pool", "dense", "--threads", "1"];
  for (const more of [[], ["--json"], ["--html", "report.html"]]) {
    const { status, stdout, stderr } = zcache(["analyze", ...flags, ...more, "t"]);
    assert.equal(status, 0, stderr);
    checkHarmless(stdout, "stdout");
    checkHarmless(stderr, "stderr");
    assert.equal(stderr.match(/not read: t\/pipe/g)?.length, 1);
    assert.equal(stderr.trimEnd().split("\n").length, 1, stderr);
    if (!more.includes("--json")) continue;
    const { input } = JSON.parse(stdout);
    assert.deepEqual([input.pieces, input.bytes], [6, 6 * 8192]);
  }
  checkHarmless(readFileSync(join(folder, "report.html"), "utf8").replaceAll("\u200b", ""), "html");
  const named = shell(`"$NODE" "$MAIN" analyze ${flags.join(" ")} --json \\
    "t/$(printf 'lat\\xe9in')" "t/$(printf 'dir\\xff')" "$(printf 'no\\xe9\\x1b[31m')"`);
  assert.equal(named.status, 0, named.stderr);
  assert.equal(JSON.parse(named.stdout).input.bytes, 2 * 8192);
  checkHarmless(named.stdout + named.stderr, "paths of the command line");
  assert.match(named.stderr, /no\\xe9\\x1b\[31m: no such file/);
});

test("errors that repeat the input have no control characters", () => {
  writeFileSync(join(folder, "bad.toml"), `"${"k\\u001b[31m"}" = 1\n`);
  writeFileSync(join(folder, "worse.toml"), `[nbd]\nsize = "\\u001b[31m\\u009b"\n`);
  writeFileSync(join(folder, "no.toml"), `x = \x1b[31m\n`);
  writeFileSync(join(folder, `${EVIL}.csv`), `a,1,${EVIL}\n`);
  writeFileSync(join(folder, "phase.csv"), `#phase ${EVIL}\na,0,100\nf,0\n`);
  mkdirSync(join(folder, EVIL));
  const cases: readonly string[][] = [
    ["analyze", `missing${EVIL}`],
    ["analyze", "--codec", EVIL, "t"],
    ["analyze", "--pool", EVIL, "t"],
    ["analyze", "--pid", EVIL],
    ["analyze", `--${EVIL}`],
    [EVIL],
    ["replay", `missing${EVIL}`, "--pool", "zbud"],
    ["replay", `${EVIL}.csv`, "--pool", "zbud"],
    ["replay", "phase.csv", "--pool", EVIL],
    ["simulate", `${EVIL}.csv`],
    ["simulate", "--shape", EVIL],
    ["simulate", "--zipf", EVIL],
    ["ctl", "--socket", EVIL],
    ["stats", "--socket", `missing${EVIL}`],
    ["top", "--socket", `missing${EVIL}`, "--interval", "1"],
    ["top", "--interval", EVIL],
    ["serve", "--config", EVIL],
    ["serve", "--config", "bad.toml"],
    ["serve", "--config", "worse.toml"],
    ["serve", "--config", "no.toml"],
    ["serve", "nbd", "--size", EVIL],
    ["serve", "nbd", "--size", "8M", "--socket", join(EVIL, "no", "s")],
    ["serve", "memcached", "--socket", EVIL],
    ["serve", "memcached", "--auth-file", `missing${EVIL}`],
    ["serve", "nbd", "--size", "8M", "--write-back", join(EVIL, "no", "f"), "--no-control"],
  ];
  for (const args of cases) {
    const { status, stdout, stderr } = zcache(args);
    checkHarmless(stdout + stderr, args.join(" "));
    assert.ok(status === 1 || status === 2, `${JSON.stringify(args)} ends with ${status}`);
    assert.match(stderr, /^(zcache: .+\n)+(\(Did you mean .*\n)?$/, JSON.stringify(args));
  }
  const { status, stdout } = zcache(["replay", "phase.csv", "--pool", "zbud"]);
  assert.equal(status, 0);
  checkHarmless(stdout, "replay");
});

test("a failed write is a one-line error, and a closed pipe is no error", () => {
  if (!existsSync("/dev/full")) return;
  const commands = [
    "analyze --codec lz4 --pool dense --threads 1 t/ok",
    "analyze --codec lz4 --pool dense --threads 1 --json t/ok",
    "codecs",
    "pools --json",
    "replay phase.csv --pool zbud",
    "simulate --zipf 1 --requests 1000 --keys 100",
    "serve --print-example",
    "serve --print-config",
    "--help",
    "serve --help",
    "--version",
  ];
  for (const command of commands) {
    const full = shell(`"$NODE" "$MAIN" ${command} > /dev/full`);
    assert.equal(full.status, 1, `${command}: ${full.stderr}`);
    assert.match(full.stderr, /^zcache: can't write the output: .*ENOSPC.*\n$/, command);
    const gone = shell(`set -o pipefail; "$NODE" "$MAIN" ${command} | true`);
    assert.equal(gone.stderr, "", command);
    assert.equal(gone.status, 0, command);
    const closed = shell(`"$NODE" "$MAIN" ${command} >&-`);
    assert.doesNotMatch(closed.stderr, / at /, command);
  }
  assert.equal(shell(`"$NODE" "$MAIN" stats --socket no 2> /dev/full`).status, 1);
  assert.equal(shell(`"$NODE" "$MAIN" stats --socket no 2>&-`).status, 1);
});

test("without a daemon, one line says what to do", () => {
  writeFileSync(join(folder, "file"), "");
  for (const [socket, why] of [
    ["none.ctl", /none\.ctl: no daemon listens there; start one \(`zcache serve`\)/],
    ["file", /file: this is not a socket; start one/],
    ["file/x.ctl", /a part of this path is not a folder; start one/],
  ] as const) {
    for (const command of [["stats"], ["ctl"], ["ctl", "a=1"], ["top", "--once"], ["top"]]) {
      const { status, stderr } = zcache([...command, "--socket", socket]);
      assert.equal(status, 1, command.join(" "));
      assert.match(stderr, why);
      assert.equal(stderr.split("\n").length, 2, stderr);
    }
  }
});

test("serve reports missing and occupied paths in one line", () => {
  writeFileSync(join(folder, "on.toml"), "[nbd]\nenabled = true\n");
  for (const [args, code, why] of [
    [["--nbd"], 2, /^zcache: --nbd: no device is configured; give --nbd-size SIZE/],
    [["--config", "on.toml"], 2, /on\.toml:2: .*no device is configured;/],
    [["nbd", "--size", "8M", "--socket", "no/s"], 1, /there is no folder \S+no; create it first/],
    [["nbd", "--size", "8M", "--socket", "file/s"], 1, /a part of the path is not a folder/],
    [["nbd", "--size", "8M", "--socket", "file"], 1, /file exists and is not a socket/],
    [["nbd", "--size", "8M", "--socket", "x".repeat(108)], 2, /has at most 107 bytes/],
    [["memcached", "--control", "no/c"], 1, /there is no folder \S+no; create it first/],
    [["nbd", "--size", "8M", "--image", "no/i", "--socket", "s"], 1, /no folder \S*no; create it/],
    [["nbd", "--size", "8M", "--listen", "192.0.2.1:1"], 1, /this machine has no such address/],
  ] as const) {
    const { status, stderr } = zcache(["serve", ...args]);
    assert.match(stderr, why);
    assert.equal(status, code, stderr);
    assert.equal(stderr.replace(/^zcache: warning.*\n/, "").split("\n").length, 2, stderr);
  }
});

test("the memory of the machine is limited by its control groups", () => {
  const root = join(folder, "root");
  const put = (path: string, text: string) => {
    mkdirSync(join(root, path, ".."), { recursive: true });
    writeFileSync(join(root, path), text);
  };
  const machine = 64 * 2 ** 30;
  assert.deepEqual(machineMemory(root, machine), { bytes: machine, source: "machine" });
  put("proc/self/cgroup", "0::/a/b\n");
  put("sys/fs/cgroup/a/b/memory.max", "max\n");
  assert.deepEqual(machineMemory(root, machine), { bytes: machine, source: "machine" });
  put("sys/fs/cgroup/a/memory.max", `${2 ** 30}\n`);
  assert.deepEqual(machineMemory(root, machine), { bytes: 2 ** 30, source: "control group" });
  put("proc/self/cgroup", "9:cpu:/x\n4:memory:/c/d\n0::/\n");
  put("sys/fs/cgroup/memory/c/d/memory.limit_in_bytes", "9223372036854771712\n");
  assert.equal(machineMemory(root, machine).source, "machine");
  put("sys/fs/cgroup/memory/memory.limit_in_bytes", `${2 ** 29}\n`);
  assert.deepEqual(machineMemory(root, machine), { bytes: 2 ** 29, source: "control group" });
  const { bytes, source } = machineMemory(root, machine);
  assert.equal(memoryWarning("memoryMax", 2 ** 29, { bytes, source }), undefined);
  assert.match(
    memoryWarning("memoryMax", 2 ** 30, { bytes, source })!,
    /^memoryMax is 1.00 GiB, more than the 512 MiB that its control group allows/,
  );
});
