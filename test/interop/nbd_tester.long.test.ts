// nbd-tester-client, the client of the nbd project's own tests, in every mode that its tests run it
// in. No package has it: scripts/fetch-nbd-tester.sh builds it. Without it the tests are skipped by
// name, and fail where CI=true.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { type NbdOptions, startNbdServer, Zram } from "../../src/nbd/index.ts";
import { createStore } from "../../src/node/stores.ts";

const MIB = 1024 * 1024;
const BUILT = fileURLToPath(new URL("../../../build/nbd", import.meta.url));
const CLIENT = join(BUILT, "nbd-tester-client");
const CI = process.env["CI"] === "true";
const TIMEOUT_MS = 180_000;
/** What it reads or writes whole, a KiB at a time. */
const SMALL_BYTES = 16 * MIB;
const LARGE_BYTES = 8 * 1024 * MIB;
const skip =
  !CI && !existsSync(CLIENT) && "nbd-tester-client is not there: scripts/fetch-nbd-tester.sh";
const folder = mkdtempSync(join(tmpdir(), "zcache-nbd-tester-"));
let sockets = 0;
after(() => rmSync(folder, { recursive: true, force: true }));

/** Serves the export "export", and what the client does to it. */
async function serving(
  sizeBytes: number,
  work: (where: string[], device: Zram) => Promise<void>,
  { tcp = false, readOnly = false, ...options }: Serving = {},
): Promise<void> {
  const store = createStore({ memoryMax: 512 * MIB });
  const device = Zram.create(store, sizeBytes);
  const path = join(folder, `${sockets++}.sock`);
  const server = await startNbdServer(store, {
    exports: [{ name: "export", readOnly, device }],
    listen: [tcp ? { host: "127.0.0.1", port: 0 } : { path }],
    threads: 2,
    ...options,
  });
  const port = server.addresses[0]!.split(":").at(-1)!;
  try {
    await work(tcp ? ["127.0.0.1", port] : ["-u", path], device);
  } finally {
    await server.close();
  }
  store.verify();
  store.close();
}

interface Serving extends Partial<NbdOptions> {
  readonly tcp?: boolean;
  readonly readOnly?: boolean;
}

/** @returns what it said; it fails with a code that is not 0 */
async function tester(...args: string[]): Promise<string> {
  const env = { ...process.env, NBD_TEST_SILENT: "1" };
  const options = { timeout: TIMEOUT_MS, maxBuffer: 16 * MIB, env, cwd: folder };
  const { stdout, stderr } = await promisify(execFile)(CLIENT, ["-N", "export", ...args], options);
  return stdout + stderr;
}

for (const flags of [[], ["-l"], ["-w"], ["-w", "-f"]]) {
  test(`the whole device, ${flags.join(" ") || "read"}`, { skip }, async () => {
    await serving(SMALL_BYTES, async (where, device) => {
      assert.match(await tester(...flags, ...where), /complete|Mib\/s/);
      const last = new Uint8Array(1024);
      device.read(SMALL_BYTES - 1024, last);
      const expected = flags.includes("-w") ? "X".charCodeAt(0) : 0;
      assert.ok(last.every((byte) => byte === expected));
      assert.equal(device.ioStat().invalid_io, 0);
    });
  });
}

test("-o sends larger and larger requests, -h the options of the handshake", { skip }, async () => {
  await serving(SMALL_BYTES, async (where) => {
    assert.match(await tester("-o", ...where), /OK/);
    assert.match(await tester("-h", ...where), /No errors encountered/);
  });
});

test("-w -F: writing to a read-only export fails", { skip }, async () => {
  const options = { tcp: true, readOnly: true };
  const work = async (where: string[]) => {
    await tester("-w", "-F", ...where);
    await assert.rejects(tester("-w", ...where));
  };
  await serving(SMALL_BYTES, work, options);
});

/** The large ones take most of a minute: the client makes and compares gigabytes, byte by byte. */
const skipLarge = skip || (!CI && "takes a minute: with CI=true");

for (const kind of ["integrity", "integrityhuge"]) {
  const why = kind === "integrityhuge" ? skipLarge : skip;
  test(`${kind}: transactions on a device of 8 GiB`, { skip: why }, async () => {
    await serving(LARGE_BYTES, async (where) => {
      const said = await tester("-i", "-t", join(BUILT, `${kind}-test.tr`), ...where);
      assert.match(said, /Integrity read test complete/);
    });
  });
}

const cert = (name: string) => join(BUILT, "certs", `${name}.pem`);
const pem = (name: string) => readFileSync(cert(name), "utf8");
const withCert = (name: string) => ["-C", cert(`${name}-cert`), "-K", cert(`${name}-key`)];

/** Serves with the certificates of its own tests. */
async function secured(work: (where: string[]) => Promise<void>): Promise<void> {
  const tls = { key: pem("server-key"), cert: pem("server-cert"), ca: pem("ca-cert") };
  await serving(LARGE_BYTES, work, { tcp: true, tls });
}

for (const kind of ["integrity", "integrityhuge"]) {
  const why = kind === "integrityhuge" ? skipLarge : skip;
  test(`${kind}: transactions through TLS`, { skip: why }, async () => {
    await secured(async (where) => {
      const transactions = ["-i", "-t", join(BUILT, `${kind}-test.tr`)];
      const secure = [...withCert("client"), "-A", cert("ca-cert"), "-H", "localhost"];
      assert.match(await tester(...transactions, ...secure, ...where), /test complete/);
    });
  });
}

test("connections without TLS or with a foreign certificate are refused", { skip }, async () => {
  await secured(async (where) => {
    await assert.rejects(tester(...where));
    assert.match(await tester(...withCert("selfsigned"), "-F", ...where), /as expected/);
  });
});
