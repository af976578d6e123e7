// A disk of which most is on a cluster: the demo script with little data, run as a test.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { without } from "../../bench/programs.ts";
import { noServers } from "../doubles/engine_servers.ts";

const SCRIPT = fileURLToPath(new URL("../../../scripts/demo_remote.mjs", import.meta.url));
const TIMEOUT_MS = 600_000;
const canAttach = process.getuid?.() === 0 && existsSync("/dev/fuse") && existsSync("/dev/loop0");
const skip =
  noServers ||
  without("nbdfuse", "losetup", "mkfs.ext4", "fsck.ext4", "mount", "umount", "blkid") ||
  (!canAttach && process.env["CI"] !== "true" && "needs root, FUSE and a loop device");

test("a disk on a cluster loses nothing when masters are killed", { skip }, async () => {
  const command = [SCRIPT, "--mib", "96"];
  const { stdout } = await promisify(execFile)(process.execPath, command, { timeout: TIMEOUT_MS });
  assert.equal(stdout.match(/kill -9 of the master/g)?.length, 2);
  assert.match(stdout, /all files are as they were written: .* read [1-9]/);
  assert.match(stdout, /repatriated [1-9]/);
  assert.match(stdout, /no page is left in the cluster/);
});
