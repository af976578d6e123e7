// `attach` and `detach` on a machine in memory: killed, failing or ended by a signal at each of
// their steps, and in any order with crashes of the daemon. Nothing is lost, and nothing stays.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { ZcacheError } from "../../../src/base/errors.ts";
import { attachDevice, type Request } from "../../../src/cli/attach/attach_device.ts";
import type { Context } from "../../../src/cli/attach/context.ts";
import { detachDevice, findDevice } from "../../../src/cli/attach/detach_device.ts";
import { figuresOf } from "../../../src/cli/attach/device_figures.ts";
import { type Attached, StateFolder } from "../../../src/cli/attach/state.ts";
import { FakeMachine, Killed } from "../../doubles/fake_machine.ts";
import { temporaryFolder } from "../../doubles/temporary_folder.ts";

const folder = temporaryFolder("attach");
let nth = 0;
/** More than any attach or detach has. */
const STEPS_MAX = 100;

interface Fixture {
  readonly machine: FakeMachine;
  readonly context: Context;
  readonly warnings: string[];
}

function fixture(): Fixture {
  const machine = new FakeMachine();
  const warnings: string[] = [];
  const context: Context = {
    machine,
    states: new StateFolder(join(folder, `run${nth++}`)),
    signal: undefined,
    warn: (text) => warnings.push(text),
  };
  return { machine, context, warnings };
}

function request(changes: Partial<Request> = {}): Request {
  const image = changes.hasImage === true ? ["--image"] : [];
  return {
    as: "disk",
    driver: "auto",
    mkfs: "ext4",
    mount: "/mnt/a",
    mountOptions: "discard",
    priority: 100,
    id: undefined,
    sizeBytes: 1 << 30,
    memoryMax: 1 << 28,
    codec: "lz4",
    threads: 2,
    hasImage: false,
    server: ({ socket, control }) => [
      ...["node", `--socket=${socket}`, `--control=${control}`],
      ...image,
    ],
    ...changes,
  };
}

const SWAP = { as: "swap", mkfs: undefined, mount: undefined } as const;
const KINDS: readonly (readonly [name: string, Partial<Request>])[] = [
  ["disk by nbdfuse", { driver: "nbdfuse" }],
  ["swap by nbdfuse", { ...SWAP, driver: "nbdfuse" }],
  ["disk by the kernel's nbd", { driver: "nbd" }],
  ["swap by the kernel's nbd", { ...SWAP, driver: "nbd" }],
  ["disk with an image", { driver: "nbdfuse", hasImage: true }],
];

const detach = (context: Context, id = "zcache0", force = false) =>
  detachDevice(context, id, { force });
const recordOf = ({ states }: Context, id = "zcache0") => states.read(id)!;

for (const [name, kind] of KINDS) {
  test(`${name}: attached, in use, and detached without a trace`, async () => {
    const { machine, context, warnings } = fixture();
    for (const device of ["/dev/nbd0", "/dev/nbd1"]) machine.addNbd(device);
    const first = await attachDevice(context, request(kind));
    const second = await attachDevice(
      context,
      request({ ...kind, mount: undefined, mkfs: undefined }),
    );
    assert.deepEqual([first.id, second.id], ["zcache0", "zcache1"]);
    assert.notEqual(first.device, second.device);
    const isSwap = first.as === "swap";
    assert.equal(machine.swapped.has(first.device!), isSwap);
    assert.equal(machine.content.get(first.device!), isSwap ? "swap" : "ext4");
    const { state, mountPoint } = await figuresOf(context, first);
    assert.deepEqual([state, mountPoint], ["active", isSwap ? "[SWAP]" : "/mnt/a"]);
    for (const text of [first.id, first.device!]) assert.equal(findDevice(context, text), first.id);
    await detach(context, "zcache0");
    assert.equal((await figuresOf(context, second)).state, "active");
    await detach(context, "zcache1");
    machine.assertEmpty();
    assert.deepEqual(context.states.ids(), []);
    assert.deepEqual(warnings, []);
    assert.throws(() => findDevice(context, "zcache0"), { code: "ERR_OPTION" });
  });

  for (const [what, next] of [
    ["kill", "attach"],
    ["kill", "detach"],
    ["fail", "attach"],
    ["signal", "attach"],
  ] as const) {
    test(`${name}: ${what} at each step of attach, then ${next}`, async () => {
      let at = 0;
      for (let isDone = false; !isDone; at++) {
        assert.ok(at < STEPS_MAX);
        const { machine, context } = fixture();
        machine.addNbd("/dev/nbd0");
        machine.plan = { at, what };
        const signal = what === "signal" ? machine.signal.signal : undefined;
        let error: unknown;
        const record = await attachDevice({ ...context, signal }, request(kind)).catch((thrown) => {
          error = thrown;
          return undefined;
        });
        isDone = machine.steps <= at;
        machine.revive();
        if (record === undefined) {
          assert.ok(error instanceof Killed || error instanceof ZcacheError, String(error));
        }
        // Only kill -9 leaves something.
        if (record === undefined && what !== "kill") {
          machine.assertEmpty();
          assert.deepEqual(context.states.ids(), []);
        }
        if (record === undefined && what === "kill" && context.states.ids().length > 0) {
          assert.equal((await figuresOf(context, recordOf(context))).state, "interrupted");
        }
        if (next === "detach") await detach(context);
        else if (record === undefined) {
          const again = await attachDevice(context, request(kind));
          assert.equal(again.id, "zcache0");
          await detach(context);
        } else await detach(context);
        machine.assertEmpty();
        assert.deepEqual(context.states.ids(), []);
      }
      assert.ok(at > 10, `${at} steps`);
    });
  }

  test(`${name}: kill at each step of detach, then detach`, async () => {
    let at = 0;
    for (let isDone = false; !isDone; at++) {
      assert.ok(at < STEPS_MAX);
      const { machine, context } = fixture();
      machine.addNbd("/dev/nbd0");
      await attachDevice(context, request(kind));
      machine.plan = { at, what: "kill" };
      await detach(context).catch((error) => assert.ok(error instanceof Killed, String(error)));
      isDone = machine.steps <= at;
      machine.revive();
      await detach(context);
      machine.assertEmpty();
      assert.deepEqual(context.states.ids(), []);
    }
    assert.ok(at > 8, `${at} steps`);
  });

  test(`${name}: the daemon is killed, list says so, and detach removes the rest`, async () => {
    const { machine, context } = fixture();
    machine.addNbd("/dev/nbd0");
    const record = await attachDevice(context, request(kind));
    machine.mayLose = true;
    machine.crash(record.server!.pid);
    assert.equal((await figuresOf(context, record)).state, "failed");
    await detach(context);
    machine.assertEmpty();
  });
}

test("a device in use stays as it is, and the error says who uses it", async () => {
  const { machine, context } = fixture();
  const { device = "" } = await attachDevice(context, request());
  const before = recordOf(context);
  const uses: readonly (readonly [use: () => void, end: () => void, expected: RegExp])[] = [
    [
      () => machine.users.set("/mnt/a/", { pid: 7, name: "vi" }),
      () => machine.users.clear(),
      /^\/dev\/loop0 is in use: vi \(7\) use \/mnt\/a$/,
    ],
    [
      () => machine.users.set(device, { pid: 8, name: "dd" }),
      () => machine.users.clear(),
      /^\/dev\/loop0 is in use: by dd \(8\)$/,
    ],
    [
      () => machine.mounted.push({ device, target: "/mnt/b", isFuse: false }),
      () => void machine.mounted.pop(),
      /it is mounted on \/mnt\/b; umount it first/,
    ],
    [
      () => machine.swapped.set(device, { usedBytes: 0, freeBytes: 0 }),
      () => machine.swapped.clear(),
      /the system swaps to \/dev\/loop0; run swapoff first/,
    ],
  ];
  for (const [use, end, message] of uses) {
    use();
    const ran = machine.ran.filter((line) => line !== "umount /mnt/a").length;
    await assert.rejects(detach(context), { code: "ERR_BUSY", message });
    assert.equal(machine.ran.filter((line) => line !== "umount /mnt/a").length, ran);
    assert.deepEqual(recordOf(context), before);
    assert.equal((await figuresOf(context, before)).state, "active");
    end();
  }
  await detach(context);
  machine.assertEmpty();
});

test("swap that does not fit into memory is detached with --force only", async () => {
  const { machine, context } = fixture();
  const { device = "" } = await attachDevice(context, request(SWAP));
  machine.swapped.set(device, { usedBytes: 3 << 20, freeBytes: 0 });
  machine.swapped.set("/dev/other", { usedBytes: 0, freeBytes: 1 << 20 });
  machine.available = 1 << 20;
  await assert.rejects(detach(context), {
    code: "ERR_BUSY",
    message: /3\.00 MiB are swapped to it, .* only 1\.00 MiB of memory and 1\.00 MiB in other swap/,
  });
  assert.equal(machine.swapped.has(device), true);
  machine.available = 2 << 20;
  machine.full = [{ name: "a/b", swappedBytes: 3 << 20, roomBytes: 1 << 20 }];
  await assert.rejects(detach(context), {
    code: "ERR_BUSY",
    message: /3\.00 MiB of the control group a\/b are swapped, and its limit leaves 1\.00 MiB;/,
  });
  assert.equal(machine.swapped.has(device), true);
  // What has no room in the group fits into the other swap device.
  machine.full = [{ name: "a/b", swappedBytes: 2 << 20, roomBytes: 1 << 20 }];
  await detach(context);
  machine.swapped.clear();
  machine.assertEmpty();
  const again = await attachDevice(context, request(SWAP));
  machine.swapped.set(again.device!, { usedBytes: 3 << 20, freeBytes: 0 });
  machine.available = 0;
  await assert.rejects(detach(context), { code: "ERR_BUSY" });
  machine.mayLose = true;
  machine.crash(again.server!.pid);
  machine.available = 1 << 30;
  await assert.rejects(detach(context), { code: "ERR_BUSY", message: /lost, because its daemon/ });
  await detach(context, "zcache0", true);
  machine.assertEmpty();
});

test("a device that another process is attaching or detaching is left to it", async () => {
  const { machine, context, warnings } = fixture();
  machine.plan = { at: 12, what: "kill" };
  await assert.rejects(attachDevice(context, request()), Killed);
  machine.revive();
  const release = context.states.lock("zcache0");
  assert.equal((await figuresOf(context, recordOf(context))).state, "attaching");
  await assert.rejects(detach(context), {
    code: "ERR_BUSY",
    message: `zcache0: process ${process.pid} is attaching or detaching it; try again`,
  });
  const other = await attachDevice(context, request({ mount: "/mnt/b" }));
  assert.equal(other.id, "zcache1");
  assert.deepEqual(warnings, []);
  release();
  assert.equal((await figuresOf(context, recordOf(context))).state, "interrupted");
  await detach(context, "zcache0");
  await detach(context, "zcache1");
  machine.assertEmpty();
});

test("a daemon that does not answer is shown as hung, and killed with --force", async () => {
  const { machine, context } = fixture();
  const record = await attachDevice(context, request());
  machine.answers = false;
  assert.equal((await figuresOf(context, record)).state, "hung");
  machine.mayLose = true;
  await detach(context, "zcache0", true);
  machine.assertEmpty();
});

test("a file system or foreign data is not overwritten", async () => {
  const { machine, context } = fixture();
  const run = machine.run.bind(machine);
  machine.run = async (program, args, how) =>
    program === "blkid" ? "ext4\n" : run(program, args, how);
  await assert.rejects(attachDevice(context, request()), {
    code: "ERR_SYSTEM",
    message: /--mkfs: \/dev\/loop0 has a file system already \(ext4\); omit --mkfs/,
  });
  machine.assertEmpty();
  await assert.rejects(attachDevice(context, request(SWAP)), /has a file system \(ext4\)/);
  machine.assertEmpty();
  assert.ok(!machine.ran.some((line) => /^mk/.test(line)));
});

test("a state file of another version, or a damaged one, is named and left alone", async () => {
  const { machine, context, warnings } = fixture();
  await attachDevice(context, request());
  const { state } = context.states.pathsOf("zcache0");
  const text = readFileSync(state, "utf8");
  const newer = text.replace('"version": 1', '"version": 9');
  for (const [content, message] of [
    [newer, /zcache0\.json has version 9, and this zcache knows version 1/],
    ["{}", /is not a state file/],
    ["not JSON", /is not a state file/],
    [text.replace('"attached"', '"elsewhere"'), /is not a state file/],
  ] as const) {
    writeFileSync(state, content);
    await assert.rejects(detach(context), { code: "ERR_INPUT", message });
    assert.throws(() => findDevice(context, "zcache0"), { code: "ERR_INPUT", message });
    const other = await attachDevice(context, request({ id: "other", mount: undefined }));
    assert.match(warnings.pop()!, message);
    await detach(context, other.id);
    assert.equal(readFileSync(state, "utf8"), content);
  }
  writeFileSync(state, text);
  await detach(context);
  machine.assertEmpty();
});

test("an identifier is used once, and an nbd device that is taken is passed over", async () => {
  const { machine, context } = fixture();
  for (const device of ["/dev/nbd0", "/dev/nbd1"]) machine.addNbd(device);
  machine.nbdSockets.set("/dev/nbd0", "/of/another/program");
  const nbds = machine.nbds.bind(machine);
  let looks = 0;
  // At the first look the device is still free.
  machine.nbds = () => nbds().map((one) => (looks++ < 2 ? { ...one, isConnected: false } : one));
  const { device } = await attachDevice(context, request({ id: "mine" }));
  assert.equal(device, "/dev/nbd1");
  await assert.rejects(attachDevice(context, request({ id: "mine", mount: "/mnt/b" })), {
    code: "ERR_BUSY",
    message: /mine is in use; choose another --id/,
  });
  await detach(context, "mine");
  assert.equal(machine.nbdSockets.get("/dev/nbd0"), "/of/another/program");
});

/** What can happen, each with a number that chooses among devices or steps. */
const EVENTS = [
  "attach",
  "attachKilled",
  "detach",
  "detachKilled",
  "crash",
  "use",
  "leave",
] as const;

test("any order of attach, detach, kills and crashes ends without a trace", async () => {
  const events = fc.array(fc.tuple(fc.constantFrom(...EVENTS), fc.nat(40)), { maxLength: 25 });
  await fc.assert(
    fc.asyncProperty(events, async (sequence) => {
      const { machine, context } = fixture();
      for (const device of ["/dev/nbd0", "/dev/nbd1"]) machine.addNbd(device);
      for (const [event, number] of sequence) {
        await happen(machine, context, event, number);
        const devices = context.states.ids().map((id) => recordOf(context, id).device);
        const known = devices.filter((one) => one !== undefined);
        assert.equal(new Set(known).size, known.length, "a device belongs to one state file");
      }
      machine.users.clear();
      for (const id of context.states.ids()) await detach(context, id, true);
      machine.assertEmpty();
    }),
    { numRuns: 300 },
  );
});

async function happen(
  machine: FakeMachine,
  context: Context,
  event: (typeof EVENTS)[number],
  number: number,
): Promise<void> {
  const records = context.states.ids().map((id) => recordOf(context, id));
  const chosen: Attached | undefined = records[number % Math.max(1, records.length)];
  const [, kind] = KINDS[number % KINDS.length]!;
  const mount = ["/mnt/a", "/mnt/b", "/mnt/c"].find(
    (target) => !machine.mounted.some((one) => one.target === target),
  );
  if (event.endsWith("Killed")) machine.plan = { at: number, what: "kill" };
  try {
    if (event.startsWith("attach")) {
      const asked = kind.as === "swap" ? kind : { ...kind, mount };
      await attachDevice(context, request(asked));
    } else if (chosen === undefined) return;
    else if (event.startsWith("detach")) await detach(context, chosen.id);
    else if (event === "use") machine.users.set(`${chosen.mount}/`, { pid: 1, name: "sh" });
    else if (event === "leave") machine.users.clear();
    else if (chosen.server !== undefined) {
      machine.mayLose = true;
      machine.crash(chosen.server.pid);
    }
  } catch (error) {
    // What is in use stays, and all nbd devices may be taken.
    if (!(error instanceof Killed || error instanceof ZcacheError)) throw error;
  } finally {
    machine.revive();
  }
}
