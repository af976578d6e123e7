// The lock beside a file: one process has it, one that died has not, and of many that find a dead
// one's lock at the same moment a single one takes it over.
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { lockFile } from "../../src/node/file_lock.ts";

const folder = mkdtempSync(join(tmpdir(), "zcache-lock-"));
after(() => rmSync(folder, { recursive: true }));

const EXTENSION = import.meta.url.endsWith(".ts") ? "ts" : "js";
const LOCK = new URL(`../../src/node/file_lock.${EXTENSION}`, import.meta.url).href;
const DEVICE = new URL(`../../src/node/file_device.${EXTENSION}`, import.meta.url).href;
/** Takeovers of a stale lock in the race, and the time after which a child that hangs ends. */
const TAKEOVERS = 400;
const HANG_MS = 240_000;
const isLinux = process.platform === "linux" ? false : "needs Linux's /proc or its shell";

function script(text: string): string[] {
  return ["--input-type=module", "-e", text];
}

function leftovers(name: string): string[] {
  return readdirSync(folder).filter((entry) => entry.startsWith(`${name}.lock`));
}

test("a second one is refused, whoever it is, until the first gives it back", () => {
  const path = join(folder, "twice");
  const unlock = lockFile(path);
  assert.throws(() => lockFile(path), { code: "ERR_FILE_LOCKED", message: /in use by process/ });
  assert.deepEqual(leftovers("twice"), ["twice.lock"]);
  unlock();
  assert.deepEqual(leftovers("twice"), []);
  lockFile(path)();
  unlock();
  assert.throws(() => lockFile(join(folder, "no/folder")), { code: "ERR_IO" });
});

test("a lock is stale if its process is gone, or another one under its number", () => {
  const path = join(folder, "stale");
  const unlock = lockFile(path);
  const own = readFileSync(`${path}.lock`, "latin1");
  unlock();
  const [pid, start, boot] = own.trim().split(" ");
  const stale = [
    `4194305 ${start} ${boot}\n`,
    `${pid} ${Number(start) - 1} ${boot}\n`,
    `${pid} ${start} another-start-of-the-machine\n`,
    "not a lock of ours",
    "",
  ];
  for (const text of isLinux === false ? stale : stale.slice(0, 1)) {
    writeFileSync(`${path}.lock`, text);
    // And a claim that somebody has left who was killed while he took it.
    writeFileSync(`${path}.lock.4194305.abc`, "");
    lockFile(path)();
    assert.deepEqual(leftovers("stale"), [], text);
  }
});

test("a killed process that its parent has not buried has no lock", { skip: isLinux }, async () => {
  const path = join(folder, "zombie");
  // The shell becomes `sleep`, which never asks for the end of the child that it has.
  const inner = `"$0" --input-type=module -e "$1" & exec sleep 600`;
  const text = `import { lockFile } from ${JSON.stringify(LOCK)};
    lockFile(${JSON.stringify(path)}); console.log(process.pid); setInterval(() => {}, 1000);`;
  const parent = spawn("/bin/sh", ["-c", inner, process.execPath, text]);
  const [printed] = (await once(parent.stdout, "data")) as [Buffer];
  const pid = Number(String(printed).trim());
  assert.throws(() => lockFile(path), { code: "ERR_FILE_LOCKED" });
  process.kill(pid, "SIGKILL");
  const isZombie = () => readFileSync(`/proc/${pid}/stat`, "latin1").includes(") Z ");
  for (const end = Date.now() + HANG_MS; !isZombie(); ) {
    assert.ok(Date.now() < end, "the killed process becomes a zombie");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  lockFile(path)();
  parent.kill();
  await once(parent, "exit");
});

test("of many that find a stale lock at the same time, one takes it over", async () => {
  const path = join(folder, "race");
  const tally = join(folder, "tally");
  // Each child takes the lock again and again, leaves it as the lock of a dead process, and adds
  // one byte to the tally each time: "." or, if another child held the lock at the same time, "!".
  // All children stop once the tally is long enough; the time only ends a hang.
  const text = `import { lockFile } from ${JSON.stringify(LOCK)};
    import { appendFileSync, renameSync, rmSync, statSync } from "node:fs";
    import { writeFileSync } from "node:fs";
    const path = ${JSON.stringify(path)}, tally = ${JSON.stringify(tally)};
    const end = Date.now() + ${HANG_MS};
    const taken = () => statSync(tally).size;
    while (taken() < ${TAKEOVERS}) {
      if (Date.now() > end) throw new Error("only " + taken() + " takeovers");
      try { lockFile(path); } catch (error) {
        if (error.code !== "ERR_FILE_LOCKED") throw error;
        continue;
      }
      let mark = ".";
      try { writeFileSync(path + ".inside", "", { flag: "wx" }); } catch { mark = "!"; }
      appendFileSync(tally, mark);
      rmSync(path + ".inside", { force: true });
      writeFileSync(path + ".new." + process.pid, "4194305 1 gone\\n");
      renameSync(path + ".new." + process.pid, path + ".lock");
    }`;
  writeFileSync(tally, "");
  const children: ChildProcess[] = Array.from({ length: 4 }, () =>
    spawn(process.execPath, script(text), { stdio: ["ignore", "ignore", "inherit"] }),
  );
  const exits = children.map((child) => once(child, "exit"));
  for (const [code] of await Promise.all(exits)) assert.equal(code, 0);
  assert.match(readFileSync(tally, "latin1"), /^\.+$/, "one child at a time holds the lock");
});

test("room that can't be had is given back", { skip: isLinux }, () => {
  const path = join(folder, "no-room");
  const text = `import { FileDevice } from ${JSON.stringify(DEVICE)};
    try {
      FileDevice.open({ path: ${JSON.stringify(path)}, sizeBytesMax: 1 << 20, existing: "reuse",
        preallocate: true });
    } catch (error) { console.log(error.code, error.context.code, error.context.offsetBytes); }`;
  const limited = ["-c", `ulimit -f 600 && exec "$0" "$@"`, process.execPath, ...script(text)];
  const { stdout } = spawnSync("/bin/sh", limited, { encoding: "utf8" });
  assert.match(stdout, /^ERR_IO EFBIG \d+\n$/);
  assert.ok(!existsSync(path));
  assert.deepEqual(leftovers("no-room"), []);
});
