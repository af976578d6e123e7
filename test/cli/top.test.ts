// `zcache top`: the page made of two states of a daemon, and its use of a terminal.
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { test } from "node:test";
import { duration, pageLines, perSecond, rowHead, rowLines } from "../../src/cli/top_view.ts";
import type { ServicePicture, State } from "../../src/dashboard/api.ts";
import { MAIN, serveFixture } from "./serve/fixture.ts";

const { at, daemon } = serveFixture();

const MIB = 1024 * 1024;

function picture(times: number): ServicePicture {
  return {
    ...{ name: "memcached", kind: "memcached" },
    setup: {
      ...{ codec: "lz4", denseCodec: "zstd", pool: "dense", policy: "tinylfu" },
      ...{ pageSizeBytes: 8192, holds: "values" },
    },
    memory: {
      ...{ logicalBytes: 96 * MIB, compressedBytes: 30 * MIB, usedBytes: 32 * MIB },
      ...{ usedMaxBytes: 48 * MIB, limitBytes: 64 * MIB, pressure: null },
      parts: {
        ...{ compressed: 30 * MIB, unused: 0, poolMetadata: 0, index: 0, remote: 0, writeBack: 0 },
        ...{ arena: 0, other: 2 * MIB },
      },
    },
    stored: { inPool: 12_345, sameFilled: 0, huge: 7, inFile: 40 },
    operations: { get: 1000 * times, set: 30 * times, touch: 0 },
    ...{ hits: 900 * times, misses: 100 * times },
    evictions: { "no room": 5 * times, lost: 0 },
    refusals: { frozen: 0 },
    ...{ expired: times, recompressed: 0, recoveries: 0, locks: {}, internalErrors: 0 },
    remote: null,
    writeBack: {
      ...{ writtenPages: times, writtenBytes: 2 * MIB * times, readPages: 3 * times },
      file: { usedBytes: 4 * MIB, maxBytes: 1024 * MIB },
    },
    latency: {
      store_get: [
        [1500, 20 * times],
        [20_000, times],
      ],
      store_put: [],
    },
    connections: { now: 3, accepted: 10 * times, refused: 2 },
  };
}

function state(seconds: number, times: number): State {
  return {
    ...{ version: "1.2.3", nowMs: 1e12 + seconds * 1000, uptimeMs: seconds * 1000 },
    ...{
      residentBytes: 150 * MIB,
      internalErrors: 0,
      mayChange: false,
      services: [picture(times)],
    },
  };
}

/** Half of it is filled. */
const BAR = "█".repeat(15);

test("the page shows the state and the rates since the state before", () => {
  assert.deepEqual(pageLines(state(100, 7), state(102, 9)), [
    "zcache 1.2.3   up 0:01:42   resident 150 MiB   rates of the last interval",
    "",
    "memcached   lz4 and zstd   dense   tinylfu",
    `  memory         ${BAR}                32.0 MiB of 64.0 MiB, 50.0 %   peak 48.0 MiB`,
    "  ratio          3.00x   96.0 MiB of data   30.0 MiB compressed",
    "  values         12,345 in memory   0 same-filled   7 uncompressed",
    "  hits           90.0 %   900/s of 1,000/s",
    "  operations     1,030/s   get 1,000/s   set 30/s",
    "  evicted        no room 5.0/s",
    "  refused        none   expired 1.0/s",
    "  write-back     2.00 MiB/s out   3.0/s read   40 in the file   4.00 MiB of 1.00 GiB",
    "  store get      p50 ≤ 1.50 µs   p99 ≤ 20.00 µs",
    "  clients        3 connected   10/s new   2 refused so far",
  ]);
});

test("the first page, and one after a restart, show rates since the start", () => {
  const once = pageLines(undefined, state(10, 20)).join("\n");
  assert.match(once, /rates since the start$/m);
  assert.match(once, /^ {2}hits +90\.0 % {3}1,800\/s of 2,000\/s$/m);
  const anew = pageLines(state(500, 1000), state(10, 20)).join("\n");
  assert.match(anew, /^ {2}hits +90\.0 % {3}1,800\/s of 2,000\/s$/m);
  // A client has set the counts to zero.
  const reset = pageLines(state(8, 1000), state(10, 2)).join("\n");
  assert.match(reset, /^ {2}hits +90\.0 % {3}900\/s of 1,000\/s$/m);
  const idle = pageLines(state(8, 5), state(10, 5)).join("\n");
  assert.match(idle, /^ {2}hits +no look-ups$/m);
  assert.match(idle, /^ {2}evicted +none$/m);
});

test("lines have a column for each figure under its heading", () => {
  const [row] = rowLines(state(100, 7), state(102, 9));
  assert.match(row!, /^\d\d:\d\d:\d\d memcached +1,030 +90\.0% +32\.0MiB +3\.00x +5 +2\.00MiB +3$/);
  assert.equal(rowHead().length, row!.length);
  assert.equal(
    rowHead(),
    "time     service        ops/s     hits      used   ratio   evict/s    back/s  clients",
  );
});

test("durations and rates as text", () => {
  assert.deepEqual([0, 59_999, 3_600_000, 90_061_000].map(duration), [
    ...["0:00:00", "0:00:59", "1:00:00", "1 d 01:01:01"],
  ]);
  assert.deepEqual([0, 0.04, 9.94, 9.96, 12_345.6].map(perSecond), [
    ...["0/s", "0.0/s", "9.9/s", "10/s", "12,346/s"],
  ]);
});

const hasScript = spawnSync("script", ["--version"]).status === 0;
const skip = !hasScript && process.env["CI"] !== "true" && "script (bsdutils) is not installed";
const ENTERS = "\x1b[?1049h\x1b[?25l";
const LEAVES = "\x1b[?25h\x1b[?1049l";

/** `zcache top` on a pseudoterminal. */
async function onTerminal(control: string) {
  const inner = `stty cols 60 rows 12; echo "at $(tty) as $$"; exec "${process.execPath}" \
"${MAIN}" top --interval 0.2 --socket "${control}"`;
  const child: ChildProcess = spawn("script", ["-qec", inner, "/dev/null"], {
    env: { ...process.env, SHELL: "/bin/sh" },
    stdio: ["pipe", "pipe", "inherit"],
  });
  let text = "";
  child.stdout!.on("data", (data) => {
    text += data;
  });
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  const until = async (fact: () => boolean) => {
    for (let n = 0; n < 2000 && !fact(); n++) await new Promise((done) => setTimeout(done, 10));
    if (fact()) return;
    child.kill("SIGKILL");
    assert.fail(`not seen in ${JSON.stringify(text)}`);
  };
  await until(() => text.includes("quit"));
  const [, tty = "", pid = ""] = /at (\S+) as (\d+)/.exec(text)!;
  return { ended, until, tty, pid: Number(pid), child, screen: () => text };
}

test("on a terminal the page is redrawn, fitted and finally removed", { skip }, async (t) => {
  const server = await daemon(
    ...["--memcached-listen", "127.0.0.1:0", "--web-listen", "127.0.0.1:0", "--nbd-size", "1M"],
    ...["--nbd-listen", "127.0.0.1:0", "--control", "t.ctl"],
  );
  await t.test("q ends it, and it fits", async () => {
    const top = await onTerminal(at("t.ctl"));
    const frames = () => top.screen().split("\x1b[H").slice(1);
    await top.until(() => frames().length >= 3);
    const { status } = spawnSync("stty", ["-F", top.tty, "cols", "30", "rows", "6"]);
    assert.equal(status, 0);
    const before = frames().length;
    await top.until(() => frames().length > before + 2);
    for (const [frame, columns, rows] of [
      [frames()[1]!, 60, 12],
      [frames().at(-2)!, 30, 6],
    ] as const) {
      // biome-ignore lint/suspicious/noControlCharactersInRegex: the test looks for them
      const lines = frame.replace(/\x1b\[[0-9;?]*[a-zA-Z]/g, "").split(/\r*\n/);
      assert.ok(lines.length <= rows, `${lines.length} lines in ${rows}`);
      for (const line of lines) assert.ok([...line].length <= columns, line);
      assert.match(lines.at(-1)!, /q: quit/);
    }
    top.child.stdin!.write("q");
    assert.equal(await top.ended, 0);
    assert.ok(top.screen().includes(ENTERS));
    assert.ok(top.screen().endsWith(LEAVES), JSON.stringify(top.screen().slice(-80)));
  });
  for (const [signal, code] of [
    ["SIGTERM", 143],
    ["SIGINT", 130],
    ["SIGHUP", 129],
  ] as const) {
    await t.test(`${signal}: the terminal is as before`, async () => {
      const top = await onTerminal(at("t.ctl"));
      process.kill(top.pid, signal);
      assert.equal(await top.ended, code);
      assert.ok(top.screen().endsWith(LEAVES), JSON.stringify(top.screen().slice(-80)));
    });
  }
  await t.test("Ctrl-C ends it", async () => {
    const top = await onTerminal(at("t.ctl"));
    top.child.stdin!.write("\x03");
    assert.equal(await top.ended, 0);
    assert.ok(top.screen().endsWith(LEAVES));
  });
  await t.test("the daemon has gone: that is said on the terminal as it was", async () => {
    const top = await onTerminal(at("t.ctl"));
    await server.end();
    assert.equal(await top.ended, 1);
    const after = top.screen().slice(top.screen().lastIndexOf(LEAVES) + LEAVES.length);
    assert.match(after, /^zcache: .*t\.ctl: .+\r\n$/);
  });
});
