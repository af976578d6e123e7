// Real NBD clients against the server: libnbd's tools, QEMU's, nbdsh, fio, a file system through
// FUSE. A program that is missing skips its tests by name, and fails them where CI=true.
import assert from "node:assert/strict";
import { execFile, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { without } from "../../bench/programs.ts";
import { type NbdServer, startNbdServer, Zram } from "../../src/nbd/index.ts";
import { createStore } from "../../src/node/stores.ts";
import type { Store } from "../../src/store/store.ts";
import { fillPage } from "../doubles/store_fixture.ts";

const MIB = 1024 * 1024;
const SIZE = 64 * MIB;
const TIMEOUT_MS = 300_000;
const folder = mkdtempSync(join(tmpdir(), "zcache-interop-"));
const path = join(folder, "nbd.sock");
const uri = `nbd+unix:///disk?socket=${path}`;
const image = join(folder, "image");
let store: Store;
let device: Zram;
let small: Zram;
let server: NbdServer;

async function run(program: string, ...args: string[]): Promise<string> {
  // The system's programs first: nbdsh needs the Python whose package of libnbd is installed.
  const env = { ...process.env, PATH: `/usr/sbin:/usr/bin:/sbin:/bin:${process.env["PATH"]}` };
  const options = { timeout: TIMEOUT_MS, maxBuffer: 16 * MIB, cwd: folder, env };
  const { stdout } = await promisify(execFile)(program, args, options);
  return stdout;
}

before(async () => {
  store = createStore({ memoryMax: 128 * MIB });
  device = Zram.create(store, SIZE, 0);
  small = Zram.create(store, MIB, 1);
  small.write(0, new Uint8Array(MIB).fill(9));
  server = await startNbdServer(store, {
    exports: [
      { name: "disk", description: "for tests", device },
      { name: "fixed", readOnly: true, device: small },
    ],
    listen: [{ path }],
    threads: 2,
  });
  // Text, holes, and pages that don't compress: what a disk holds.
  const bytes = new Uint8Array(SIZE);
  for (let page = 0; page < SIZE / 4096; page++) {
    const kind = page % 16 === 0 ? "noise" : page % 7 === 0 ? "sparse" : "text";
    if (page % 64 < 48) fillPage(bytes.subarray(page * 4096, page * 4096 + 4096), kind, page);
  }
  writeFileSync(image, bytes);
});

after(async () => {
  await server.close();
  store.verify();
  store.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Puts the image on the device. */
function fill(): void {
  device.reset();
  device.write(0, readFileSync(image));
}

test("nbdinfo", { skip: without("nbdinfo") }, async () => {
  const text = await run("nbdinfo", "--json", uri);
  const { exports } = JSON.parse(text) as { exports: Record<string, unknown>[] };
  const info = exports[0]!;
  assert.equal(info["export-size"], SIZE);
  assert.equal(info["description"], "for tests");
  const can = ["multi_conn", "trim", "zero", "fast_zero", "fua", "flush", "cache", "df"];
  for (const what of can) assert.equal(info[`can_${what}`], true, what);
  assert.equal(info["block_size_preferred"], 4096);
  const list = await run("nbdinfo", "--list", `nbd+unix://?socket=${path}`);
  assert.match(list, /export="disk"/);
  assert.match(list, /export="fixed"/);
  const fixed = await run("nbdinfo", `nbd+unix:///fixed?socket=${path}`);
  assert.match(fixed, /is_read_only: true/);
});

test("nbdinfo --map and qemu-img map agree with what is stored", {
  skip: without("nbdinfo", "qemu-img"),
}, async () => {
  device.reset();
  device.write(MIB, new Uint8Array(MIB).fill(1));
  const map = JSON.parse(await run("nbdinfo", "--map", "--json", uri)) as object[];
  assert.deepEqual(map, [
    { offset: 0, length: MIB, type: 3, description: "hole,zero" },
    { offset: MIB, length: MIB, type: 0, description: "data" },
    { offset: 2 * MIB, length: SIZE - 2 * MIB, type: 3, description: "hole,zero" },
  ]);
  const extents = JSON.parse(await run("qemu-img", "map", "--output=json", "-f", "raw", uri)) as {
    data: boolean;
    length: number;
  }[];
  assert.deepEqual(
    extents.map(({ data, length }) => [data, length]),
    [
      [false, MIB],
      [true, MIB],
      [false, SIZE - 2 * MIB],
    ],
  );
});

for (const connections of [1, 4]) {
  test(`nbdcopy in and out, ${connections} connections`, { skip: without("nbdcopy") }, async () => {
    device.reset();
    const back = join(folder, "back");
    await run("nbdcopy", `--connections=${connections}`, image, uri);
    await run("nbdcopy", `--connections=${connections}`, uri, back);
    assert.ok(readFileSync(back).equals(readFileSync(image)));
    rmSync(back);
  });
}

test("qemu-img: convert in and out, compare, check", { skip: without("qemu-img") }, async () => {
  device.reset();
  await run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", image, uri);
  await run("qemu-img", "compare", "-f", "raw", "-F", "raw", image, uri);
  const qcow = join(folder, "disk.qcow2");
  await run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", uri, qcow);
  await run("qemu-img", "check", "-f", "qcow2", qcow);
  await run("qemu-img", "compare", "-f", "qcow2", "-F", "raw", qcow, uri);
  // A qcow2 on the device itself: parts of pages, zeroes and discards.
  device.reset();
  await run("qemu-img", "create", "-f", "qcow2", uri, "32M");
  const commands = ["write -P 7 12345 700000", "discard 100k 200k", "write -z 1M 99k"];
  await run("qemu-io", "-f", "qcow2", ...commands.flatMap((one) => ["-c", one]), uri);
  await run("qemu-io", "-f", "qcow2", "-c", "read -P 7 12345 80000", uri);
  await run("qemu-img", "check", "-f", "qcow2", uri);
});

test("qemu-io: patterns at any offset, zeroes, discards", {
  skip: without("qemu-io"),
}, async () => {
  device.reset();
  const commands = [
    "write -P 0xa1 0 64k",
    "write -P 0xb2 4097 9001",
    "writev -P 0xc3 1M 512 1024 3584",
    "write -z 8k 4k",
    "write -z -u 32k 8k",
    "discard 40k 4k",
    "read -P 0xa1 0 4097",
    "read -P 0xb2 4097 4095",
    "read -P 0 8192 4096",
    "read -P 0xb2 12288 810",
    "read -P 0 32k 12k",
    "read -P 0xc3 1M 5120",
    "aio_write -P 0xd4 2M 2M",
    "aio_flush",
    "read -P 0xd4 2M 2M",
    "flush",
  ];
  const out = await run("qemu-io", "-f", "raw", ...commands.flatMap((one) => ["-c", one]), uri);
  assert.doesNotMatch(out, /fail|error/i);
});

/** What nbdsh does on a connection `h`, and how it must come out. */
const SCRIPT = `
import errno
def fails(code, call, *args, **kw):
    try:
        call(*args, **kw)
    except nbd.Error as error:
        assert error.errnum == code, (error, code)
        return
    assert False, "no error"
h.set_strict_mode(0)
size = h.get_size()
buf = bytearray(range(256)) * 64
h.pwrite(buf, 1000, nbd.CMD_FLAG_FUA)
assert h.pread(len(buf), 1000) == buf
assert h.pread(len(buf), 1000, nbd.CMD_FLAG_DF) == buf
h.zero(4096, 4096, nbd.CMD_FLAG_FAST_ZERO)
assert h.pread(4096, 4096) == bytearray(4096)
h.zero(4096, 8192, nbd.CMD_FLAG_NO_HOLE)
h.trim(4096, 12288)
h.cache(65536, 0)
h.flush()
fails(errno.EINVAL, h.pread, 512, size)
fails(errno.ENOSPC, h.pwrite, bytes(512), size)
fails(errno.ENOSPC, h.zero, 512, size)
fails(errno.EINVAL, h.trim, 512, size)
fails(errno.EINVAL, h.cache, 512, size)
entries = []
h.block_status(16384, 0, lambda name, at, e, err: entries.append((name, at, e)))
name, at, found = entries[0]
assert name == "base:allocation" and at == 0
assert found == [4096, 0, 4096, 3, 4096, 2, 4096, 3], found
h.block_status(16384, 0, lambda name, at, e, err: entries.append(e), nbd.CMD_FLAG_REQ_ONE)
assert entries[1] == [4096, 0], entries[1]
cookies = [h.aio_pread(nbd.Buffer(65536), n * 65536) for n in range(64)]
while h.aio_in_flight() > 0:
    h.poll(-1)
assert all(h.aio_command_completed(c) for c in cookies)
h.shutdown()
`;

test("nbdsh: each command and its errors", { skip: without("nbdsh") }, async () => {
  device.reset();
  const meta = ["--base-allocation"];
  await run("nbdsh", ...meta, "-u", uri, "-c", SCRIPT);
  const simple = SCRIPT.replace(/^.*CMD_FLAG_DF.*$/m, "").replace(
    /entries = \[\][\s\S]*entries\[1\]\n/,
    "",
  );
  const plain = "h.set_request_structured_replies(False)\n";
  await run("nbdsh", "-c", `${plain}h.connect_uri("${uri}")\n${simple}`);
  const fixed = `nbd+unix:///fixed?socket=${path}`;
  const denied =
    "import errno\nh.set_strict_mode(0)\ntry:\n  h.pwrite(bytes(512), 0)\n  assert False\n" +
    "except nbd.Error as e:\n  assert e.errnum == errno.EPERM, e\n";
  await run("nbdsh", "-u", fixed, "-c", denied);
  assert.equal(small.ioStat().failed_writes, 0);
});

test("fio: verified random writes on several connections", { skip: without("fio") }, async () => {
  device.reset();
  const output = await run(
    "fio",
    "--name=verify",
    "--ioengine=nbd",
    `--uri=${uri}`,
    "--rw=randwrite",
    "--bsrange=512-64k",
    "--iodepth=16",
    "--size=16m",
    "--numjobs=4",
    "--offset_increment=16m",
    "--verify=crc32c",
    "--do_verify=1",
    "--group_reporting",
  );
  assert.match(output, /err= 0/);
});

const canMount = process.getuid?.() === 0 && existsSync("/dev/fuse") && existsSync("/dev/loop0");
const fuseSkip =
  without("nbdfuse", "mkfs.ext4", "fsck.ext4", "fstrim", "losetup") ||
  (!canMount && process.env["CI"] !== "true" && "needs root, FUSE and a loop device");

test("nbdfuse: ext4 on a loop device, fsck, and fstrim gives memory back", {
  skip: fuseSkip,
}, async () => {
  device.reset();
  const file = join(folder, "fuse");
  const tree = join(folder, "tree");
  writeFileSync(file, "");
  execFileSync("mkdir", [tree]);
  const fuse = spawn("nbdfuse", [file, uri], { stdio: "ignore" });
  try {
    for (let n = 0; n < 6000 && statSync(file).size !== SIZE; n++) {
      await new Promise((done) => setTimeout(done, 25));
    }
    assert.equal(statSync(file).size, SIZE);
    await run("mkfs.ext4", "-q", "-F", "-E", "nodiscard", file);
    await run("mount", "-o", "loop", file, tree);
    try {
      const data = readFileSync(image).subarray(0, 32 * MIB);
      writeFileSync(join(tree, "data"), data);
      await run("sync");
      const used = device.mmStat().compr_data_size;
      assert.ok(readFileSync(join(tree, "data")).equals(data));
      await run("rm", join(tree, "data"));
      await run("sync");
      await run("fstrim", tree);
      const left = device.mmStat().compr_data_size;
      assert.ok(left < used / 4, `${left} of ${used} bytes are left`);
    } finally {
      await run("umount", tree);
    }
    await run("fsck.ext4", "-f", "-n", file);
  } finally {
    await run("fusermount3", "-u", file).catch(() => {});
    fuse.kill();
  }
});

test("the device equals its saved image after all this", {
  skip: without("nbdcopy"),
}, async () => {
  fill();
  const back = join(folder, "back");
  await run("nbdcopy", uri, back);
  assert.ok(readFileSync(back).equals(readFileSync(image)));
});
