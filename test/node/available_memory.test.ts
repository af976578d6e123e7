// How much memory is left, read from files of control groups in both versions and of /proc.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { GIB, KIB, MIB } from "../../src/base/units.ts";
import { availableMemory } from "../../src/node/available_memory.ts";

const MEMINFO = [
  `MemTotal: ${(8 * GIB) / KIB} kB`,
  "MemFree: 1 kB",
  `MemAvailable: ${(5 * GIB) / KIB} kB`,
].join("\n");

/** A file of the form of `memory.stat`. */
function stat(fields: Readonly<Record<string, number>>): string {
  return Object.entries(fields)
    .map(([name, value]) => `${name} ${value}\n`)
    .join("");
}

/** Reads from a folder with these files, as if it were `/`. */
function read(files: Readonly<Record<string, string>>) {
  const root = mkdtempSync(join(tmpdir(), "zcache-"));
  try {
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(dirname(join(root, name)), { recursive: true });
      writeFileSync(join(root, name), text);
    }
    return availableMemory(root);
  } finally {
    rmSync(root, { recursive: true });
  }
}

test("without a control group, the machine counts", () => {
  const machine = { availableBytes: 5 * GIB, limitBytes: 8 * GIB, source: "machine" };
  assert.deepEqual(read({ "proc/meminfo": MEMINFO }), { ...machine, stalledUs: undefined });
  const pressure = "some avg10=0.00 avg60=0.00 avg300=0.00 total=1234\nfull avg10=0 total=9\n";
  const stalled = read({ "proc/meminfo": MEMINFO, "proc/pressure/memory": pressure });
  assert.deepEqual(stalled, { ...machine, stalledUs: 1234 });
});

test("a system without these files has no answer", () => {
  assert.equal(read({}), undefined);
});

test("version 2: the group that is nearest to its limit counts; files can be dropped", () => {
  const group = "sys/fs/cgroup/outer/inner";
  const found = read({
    "proc/meminfo": MEMINFO,
    "proc/self/cgroup": "0::/outer/inner\n",
    [`${group}/memory.max`]: "max\n",
    [`${group}/memory.current`]: `${700 * MIB}\n`,
    "sys/fs/cgroup/outer/memory.max": `${1024 * MIB}\n`,
    "sys/fs/cgroup/outer/memory.current": `${900 * MIB}\n`,
    "sys/fs/cgroup/outer/memory.stat": stat({
      anon: 1,
      file: 99,
      inactive_file: 30 * MIB,
      active_file: 20 * MIB,
    }),
    "sys/fs/cgroup/outer/memory.pressure": "some avg10=1 avg60=0 avg300=0 total=77\nfull total=3\n",
  });
  assert.deepEqual(found, {
    availableBytes: 174 * MIB,
    limitBytes: 1024 * MIB,
    source: "control group",
    stalledUs: 77,
  });
});

test("version 1 has other names, a huge number for no limit, and sums over groups below", () => {
  const group = "sys/fs/cgroup/memory/service";
  const files = {
    "proc/meminfo": MEMINFO,
    "proc/self/cgroup": "5:cpu:/other\n4:memory:/service\n0::/\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": "5\n",
    [`${group}/memory.limit_in_bytes`]: `${200 * MIB}\n`,
    [`${group}/memory.usage_in_bytes`]: `${150 * MIB}\n`,
    [`${group}/memory.stat`]: stat({
      ...{ inactive_file: 0, total_inactive_file: 6 * MIB, total_active_file: 4 * MIB },
    }),
  };
  assert.deepEqual(read(files), {
    availableBytes: 60 * MIB,
    limitBytes: 200 * MIB,
    source: "control group",
    stalledUs: undefined,
  });
});

test("a group with more left than the machine does not count", () => {
  const found = read({
    "proc/meminfo": MEMINFO,
    "proc/self/cgroup": "0::/wide\n",
    "sys/fs/cgroup/wide/memory.max": `${100 * GIB}\n`,
    "sys/fs/cgroup/wide/memory.current": "0\n",
  });
  assert.equal(found?.source, "machine");
});

test("files that are cut short or foreign do not count", () => {
  const found = read({
    "proc/meminfo": MEMINFO,
    "proc/self/cgroup": "0::/odd\n",
    "sys/fs/cgroup/odd/memory.max": `${MIB}\n`,
    "sys/fs/cgroup/odd/memory.current": "",
  });
  assert.equal(found?.source, "machine");
});
