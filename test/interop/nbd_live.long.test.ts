// Real NBD clients where the connection itself is what is tested: through TLS with certificates
// that are accepted and others that are not, from addresses that may connect and others, and while
// the device is reset or resized under them. A program that is missing skips its tests by name, and
// fails them where CI=true.
import assert from "node:assert/strict";
import { execFile, execFileSync, spawn } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { has, without } from "../../bench/programs.ts";
import { type NbdOptions, startNbdServer, Zram } from "../../src/nbd/index.ts";
import { createStore } from "../../src/node/stores.ts";

const MIB = 1024 * 1024;
const SIZE = 16 * MIB;
const TIMEOUT_MS = 300_000;
const folder = mkdtempSync(join(tmpdir(), "zcache-interop-live-"));
let sockets = 0;

/** The system's programs first: nbdsh needs the Python whose package of libnbd is installed. */
const env = { ...process.env, PATH: `/usr/sbin:/usr/bin:/sbin:/bin:${process.env["PATH"]}` };

async function run(program: string, ...args: string[]): Promise<string> {
  const options = { timeout: TIMEOUT_MS, maxBuffer: 16 * MIB, cwd: folder, env };
  const { stdout } = await promisify(execFile)(program, args, options);
  return stdout;
}

async function serving(
  options: Partial<NbdOptions>,
  work: (where: { path: string; port: string }, device: Zram) => Promise<void>,
): Promise<void> {
  const store = createStore({ memoryMax: 64 * MIB });
  const device = Zram.create(store, SIZE);
  const path = join(folder, `${sockets++}.sock`);
  const server = await startNbdServer(store, {
    exports: [{ name: "disk", device }],
    listen: [{ path }, { host: "127.0.0.1", port: 0 }],
    threads: 2,
    ...options,
  });
  const port = server.addresses.at(-1)!.split(":").at(-1)!;
  try {
    await work({ path, port }, device);
  } finally {
    await server.close();
  }
  store.verify();
  store.close();
}

function openssl(...args: string[]): void {
  execFileSync("openssl", args, { stdio: "ignore", cwd: folder });
}

/** Folders as libnbd and QEMU want them: a CA, and the certificate of a client signed by `by`. */
function makeCertificates(): void {
  const key = ["-days", "2", "-nodes", "-newkey", "rsa:2048"];
  for (const ca of ["ca", "other"]) {
    openssl("req", "-x509", ...key, "-keyout", `${ca}.key`, "-out", `${ca}.pem`, "-subj", "/CN=ca");
  }
  writeFileSync(join(folder, "names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n");
  for (const [name, by] of [
    ["server", "ca"],
    ["client", "ca"],
    ["stranger", "other"],
  ] as const) {
    const request = ["-keyout", `${name}.key`, "-out", `${name}.csr`, "-subj", "/CN=localhost"];
    openssl("req", "-nodes", "-newkey", "rsa:2048", ...request);
    const signed = ["-CA", `${by}.pem`, "-CAkey", `${by}.key`, "-CAcreateserial", "-days", "2"];
    const out = ["-extfile", "names", "-in", `${name}.csr`, "-out", `${name}.pem`];
    openssl("x509", "-req", ...signed, ...out);
    mkdirSync(join(folder, `as-${name}`));
    copyFileSync(join(folder, "ca.pem"), join(folder, `as-${name}/ca-cert.pem`));
    copyFileSync(join(folder, `${name}.pem`), join(folder, `as-${name}/client-cert.pem`));
    copyFileSync(join(folder, `${name}.key`), join(folder, `as-${name}/client-key.pem`));
  }
  // Knows whom to trust, and has no certificate.
  mkdirSync(join(folder, "as-nobody"));
  copyFileSync(join(folder, "ca.pem"), join(folder, "as-nobody/ca-cert.pem"));
  const image = Buffer.alloc(SIZE);
  for (let at = 0; at < SIZE; at += 4) image.writeUInt32LE((at * 2654435761) >>> (at % 13), at);
  writeFileSync(join(folder, "image"), image);
}

before(() => {
  if (has("openssl")) makeCertificates();
});
after(() => rmSync(folder, { recursive: true, force: true }));

const pem = (name: string) => readFileSync(join(folder, name), "utf8");
const tls = () => ({ key: pem("server.key"), cert: pem("server.pem"), ca: pem("ca.pem") });

test("libnbd through TLS: copies with a certificate, refused with a foreign one and without", {
  skip: without("nbdcopy", "nbdinfo", "openssl"),
}, async () => {
  await serving({ tls: tls() }, async ({ path, port }) => {
    const uri = (who: string) =>
      `nbds://localhost:${port}/disk?tls-certificates=${join(folder, `as-${who}`)}`;
    for (const connections of ["1", "4"]) {
      await run("nbdcopy", `--connections=${connections}`, "image", uri("client"));
      await run("nbdcopy", `--connections=${connections}`, uri("client"), "back");
      assert.ok(readFileSync(join(folder, "back")).equals(readFileSync(join(folder, "image"))));
    }
    for (const who of ["stranger", "nobody"]) {
      await assert.rejects(run("nbdinfo", uri(who)), /nbdinfo/);
    }
    await assert.rejects(run("nbdinfo", `nbd+unix:///disk?socket=${path}`), /opt_go/);
    assert.match(await run("nbdinfo", uri("client")), /export-size: 16777216/);
  });
});

test("QEMU through TLS: compares with a certificate, refused with a foreign one", {
  skip: without("qemu-img", "openssl"),
}, async () => {
  await serving({ tls: tls() }, async ({ port }, device) => {
    device.write(0, readFileSync(join(folder, "image")));
    const compare = (who: string) => {
      const creds = `tls-creds-x509,id=tls0,endpoint=client,dir=${join(folder, `as-${who}`)}`;
      const server = `server.type=inet,server.host=localhost,server.port=${port}`;
      const target = `driver=nbd,${server},export=disk,tls-creds=tls0`;
      const source = "driver=raw,file.driver=file,file.filename=image";
      return run("qemu-img", "compare", "--object", creds, "--image-opts", target, source);
    };
    assert.match(await compare("client"), /identical/);
    await assert.rejects(compare("stranger"));
  });
});

test("nbd-client lists exports, and gets no answer from an address that is not allowed", {
  skip: without("nbd-client", "nbdinfo"),
}, async () => {
  await serving({ allow: ["127.0.0.1"] }, async ({ port }) => {
    assert.match(await run("nbd-client", "-l", "127.0.0.1", port), /^disk$/m);
  });
  await serving({ allow: ["127.0.0.2", "10.0.0.0/8"] }, async ({ path, port }) => {
    await assert.rejects(run("nbdinfo", `nbd://127.0.0.1:${port}/disk`), /nbdinfo/);
    // Who may open the Unix socket comes by it.
    await run("nbdinfo", `nbd+unix:///disk?socket=${path}`);
  });
});

/** After each line that it prints it waits for one, in which the device is changed. */
const CHANGES = `
import errno, sys
def turn(word):
    print(word, flush=True)
    sys.stdin.readline()
h.set_strict_mode(0)
size = h.get_size()
h.pwrite(b"a" * 65536, size - 65536)
turn("written")
assert h.pread(65536, size - 65536) == bytearray(65536), "reset"
h.pwrite(b"b" * 65536, size - 65536)
turn("again")
try:
    h.pread(65536, size - 65536)
    assert False, "beyond the end"
except nbd.Error as error:
    assert error.errnum == errno.EINVAL, error
h.pwrite(b"c" * 4096, 0)
assert h.pread(4096, 0) == b"c" * 4096
turn("shrunk")
assert h.pread(65536, size - 65536) == bytearray(65536), "what was cut off is gone"
h.shutdown()
`;

test("nbdsh: the device is reset and resized under a client", {
  skip: without("nbdsh"),
}, async () => {
  await serving({}, async ({ path }, device) => {
    const changes: Record<string, () => void> = {
      written: () => device.reset(),
      again: () => device.resize(SIZE / 2),
      shrunk: () => device.resize(SIZE),
    };
    const uri = `nbd+unix:///disk?socket=${path}`;
    const options = { cwd: folder, env, timeout: TIMEOUT_MS };
    const child = spawn("nbdsh", ["-u", uri, "-c", CHANGES], options);
    let said = "";
    child.stderr.on("data", (data) => {
      said += data;
    });
    child.stdin.on("error", () => {});
    const done: string[] = [];
    let heard = "";
    child.stdout.on("data", (data) => {
      heard += data;
      // Python may write a word and the end of its line apart.
      const words = heard.split("\n");
      heard = words.pop()!;
      for (const word of words) {
        done.push(word);
        changes[word]?.();
        child.stdin.write("\n");
      }
    });
    const code = await new Promise((resolve) => child.once("close", resolve));
    assert.equal(code, 0, said);
    assert.deepEqual(done, Object.keys(changes));
  });
});

test("nbdcopy to a device with too little memory fails, and every page is whole", {
  skip: without("nbdcopy", "nbdsh"),
}, async () => {
  const store = createStore({ memoryMax: 8 * MIB });
  const device = Zram.create(store, SIZE);
  const path = join(folder, "full.sock");
  const exports = [{ name: "disk", device }];
  const server = await startNbdServer(store, { exports, listen: [{ path }], threads: 2 });
  const uri = `nbd+unix:///disk?socket=${path}`;
  try {
    const noise = join(folder, "noise");
    execFileSync("sh", ["-c", `head -c ${SIZE} /dev/urandom > "$1"`, "sh", noise]);
    await run("nbdsh", "-u", uri, "-c", "h.pwrite(b'kept' * 1024, 0)");
    const partial = "h.pwrite(open('noise', 'rb').read(1 << 20), 1 << 20)";
    await run("nbdsh", "-u", uri, "-c", partial);
    await assert.rejects(run("nbdcopy", noise, uri), /No space left|ENOSPC/i);
    assert.ok(device.ioStat().failed_writes > 0);
    // A page is what it was, or what was written to it, whole.
    const data = readFileSync(noise);
    const found = Buffer.alloc(MIB);
    device.read(MIB, found);
    for (let at = 0; at < MIB; at += 4096) {
      const page = found.subarray(at, at + 4096);
      const isOld = page.equals(data.subarray(at, at + 4096));
      assert.ok(isOld || page.equals(data.subarray(MIB + at, MIB + at + 4096)), `page at ${at}`);
    }
    device.reset();
    await run("nbdsh", "-u", uri, "-c", "h.pwrite(b'more' * 1024, 0)");
  } finally {
    await server.close();
  }
  store.verify();
  store.close();
});
