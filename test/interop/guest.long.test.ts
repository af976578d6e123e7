// A Linux guest that swaps to one NBD device and keeps a file system on another: the demo script,
// run as a test. QEMU translates the guest's code, which takes a minute, so the test runs with
// CI=true only, where its requirements must be installed.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const SCRIPT = fileURLToPath(new URL("../../../scripts/demo_guest.mjs", import.meta.url));
/** The script gives up before. */
const TIMEOUT_MS = 240_000;
const skip = process.env["CI"] !== "true" && "takes a minute: with CI=true, or npm run demo:guest";

test("a guest swaps, verifies, keeps files and trims", { skip }, async () => {
  const options = { timeout: TIMEOUT_MS };
  const { stdout } = await promisify(execFile)(process.execPath, [SCRIPT], options);
  assert.match(stdout, /pages verified, 0 wrong/);
  assert.match(stdout, /all of it was right/);
});
