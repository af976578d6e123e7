// `zcache serve` with all services in one process: it starts all or nothing, applies changes while
// it runs, saves at the end, and is monitored by `zcache top`.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, statSync, writeFileSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { delimiter } from "node:path";
import { test } from "node:test";
import { connect as connectTls } from "node:tls";
import { askControl } from "../../../src/monitor/control.ts";
import { Command, Option, Reply } from "../../../src/nbd/protocol/protocol.ts";
import { NbdClient } from "../../doubles/nbd_client.ts";
import { fillPage } from "../../doubles/store_fixture.ts";
import { MAIN, serveFixture } from "./fixture.ts";

const { at, zcache, daemon } = serveFixture();
/** Everything at ports that are free; web pages have tests of their own. */
const ANYWHERE = [
  ...["--memcached-listen", "127.0.0.1:0", "--web-listen", "127.0.0.1:0"],
  ...["--nbd-listen", "127.0.0.1:0"],
];
const portOf = (text: string, service: string) =>
  Number(new RegExp(`^${service} on \\S*:(\\d+)`, "m").exec(text)![1]);

/** Sends lines to memcached. @returns its replies until the connection ends */
function ask(port: number, lines: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1");
    let text = "";
    socket.setEncoding("utf8").on("data", (data) => {
      text += data;
    });
    socket.setTimeout(30_000, () => socket.destroy(new Error(`no end of ${text}`)));
    socket.on("error", reject).on("close", () => resolve(text));
    socket.write(`${lines}\r\nquit\r\n`);
  });
}

function listening(): Promise<Server> {
  return new Promise((resolve) => {
    const server = createServer();
    server.listen(0, "127.0.0.1", () => resolve(server));
  });
}

test("all services share a control socket, and a device is saved and loaded again", async () => {
  const nbd = ["--nbd-size", "16M", "--nbd-image", "a.image", "--nbd-socket", "a.sock"];
  const args = [...ANYWHERE, ...nbd, "--control", "a.ctl"];
  const first = await daemon(...args);
  assert.match(
    first.text,
    /^nbd on 127.*\nmemcached on 127.*\nweb page on http.*\ncontrol on a\.ctl\n$/,
  );
  const client = await NbdClient.open(at("a.sock"));
  const data = Buffer.from(fillPage(new Uint8Array(4096), "text", 1));
  assert.equal((await client.request(Command.WRITE, 8192, 4096, { data })).error, 0);
  const answer = await ask(portOf(first.text, "memcached"), "set k 0 0 1\r\nv\r\nget k\r\nget no");
  assert.equal(answer, "STORED\r\nVALUE k 0 1\r\nv\r\nEND\r\nEND\r\n");

  const stats = JSON.parse(zcache("stats", "--json", "--socket", "a.ctl").stdout);
  assert.equal(stats.nbd.orig_data_size, 4096);
  assert.equal(stats.memcached.get_hits, 1);
  assert.match(zcache("stats", "--socket", "a.ctl").stdout, /^memcached\.get_misses=1$/m);
  const set = zcache("ctl", "--socket", "a.ctl", "memcached.max-conns=7", "nbd.recompress_idle=5");
  assert.equal(set.stdout, "memcached.max-conns=7\nnbd.recompress_idle=5\n");
  const done = zcache("ctl", "--socket", "a.ctl", "nbd.recompress=type=huge max_pages=9");
  assert.match(done.stdout, /^nbd\.recompress=\d of \d pages recompressed, \d+ to \d+ bytes\n$/);
  const state = zcache("ctl", "--socket", "a.ctl", "nbd.block_state=0-9");
  assert.match(state.stdout, /^nbd\.block_state=\n {11}2 +\d+\.\d{6} [a-z.]{6}\n$/);
  const unknown = zcache("ctl", "--socket", "a.ctl", "nbd.recompress=type=idle level=3");
  assert.match(
    unknown.stderr,
    /^zcache: recompress "level=3": each word must be one of type=.*\n$/,
  );
  assert.equal(unknown.status, 2);
  const wrong = zcache("ctl", "--socket", "a.ctl", "memcached.max-conns=0");
  assert.equal(
    wrong.stderr,
    'zcache: max-conns: "0" is not allowed; write a whole number from 1 to 1000000\n',
  );
  assert.equal(wrong.status, 2);
  assert.match(
    zcache("ctl", "--socket", "a.ctl", "memcached.memory-max=5G").stderr,
    /the daemon can grow to 4294901760 bytes, and more needs a restart/,
  );
  assert.equal(zcache("ctl", "--socket", "a.ctl", "memcached.codec=lz4").status, 2);

  const { code, text, errors } = await first.end();
  assert.deepEqual([code, errors], [0, ""]);
  assert.match(text, /^saved 1 pages to a\.image$/m);
  assert.ok(!existsSync(at("a.ctl")));
  client.close();
  const second = await daemon(...args);
  assert.match(second.text, /^loaded 1 pages from a\.image$/m);
  const again = await NbdClient.open(at("a.sock"));
  assert.ok((await again.request(Command.READ, 8192, 4096)).data.equals(data));
  again.close();
  assert.equal((await second.end("SIGINT")).code, 0);
});

test("a port in use is a one-line error, and everything started is ended", async () => {
  const taken = await listening();
  const { port } = taken.address() as { port: number };
  for (const [flag, service] of [
    ["--memcached-listen", "memcached"],
    ["--nbd-listen", "nbd"],
    ["--web-listen", "web"],
  ] as const) {
    const { status, stderr, stdout } = zcache(
      "serve",
      ...ANYWHERE,
      ...["--nbd-size", "4M", "--nbd-image", "p.image", "--control", "p.ctl"],
      ...["--nbd-socket", "p.sock", "--no-nbd-read-only"],
      flag,
      `127.0.0.1:${port}`,
    );
    assert.match(stderr, new RegExp(`^zcache: .*127\\.0\\.0\\.1:${port}.*\\n$`), service);
    assert.deepEqual([status, stdout], [1, ""], service);
    for (const name of ["p.ctl", "p.sock", "p.image"]) assert.ok(!existsSync(at(name)), name);
  }
  const control = await daemon(...ANYWHERE, "--control", "taken.ctl");
  const second = zcache("serve", ...ANYWHERE, "--control", "taken.ctl");
  assert.match(second.stderr, /^zcache: another server listens on taken\.ctl: it is in use\n$/);
  assert.equal(second.status, 1);
  await control.end();
  taken.close();
});

test("an invalid command line is a usage error and starts nothing", () => {
  const cases: [string[], RegExp][] = [
    [["--bogus"], /unknown option '--bogus'/],
    [["--no-memcached"], /there is nothing to serve/],
    [["--memcached-threads", "0"], /--memcached-threads: "0" is not allowed/],
    [["--nbd-size=1M", "--nbd-codec-level=3"], /--nbd-codec-level: lz4 has no levels; leave it/],
    [["--nbd-size=1M", "--nbd-recompress-level=22"], /"22" .* 1 to 19, the levels of zstd/],
    [["--config", "bad.toml"], /bad\.toml:2: nbd\.sise: unknown key; did you mean size/],
    [["--no-web", "nbd", "--size", "1M"], /--no-web: write flags of `zcache serve nbd` after/],
    [["extra"], /too many arguments|unknown command/],
  ];
  writeFileSync(at("bad.toml"), "[nbd]\nsise = 1\n");
  for (const [args, message] of cases) {
    const { status, stdout, stderr } = zcache("serve", ...args);
    assert.match(stderr, message);
    assert.deepEqual([status, stdout], [2, ""], args.join(" "));
  }
  writeFileSync(at("good.toml"), '[nbd]\nsize = "1M"\n');
  const check = zcache("serve", "--config", "good.toml", "--check-config");
  assert.deepEqual([check.status, check.stdout], [0, "good.toml is valid\n"]);
  assert.equal(zcache("serve", "--config", "bad.toml", "--check-config").status, 2);
  assert.equal(zcache("serve", "--config", "none.toml", "--check-config").status, 1);
  // Of one service by name, the sections of the others are checked too.
  assert.equal(zcache("serve", "memcached", "--config", "bad.toml", "--check-config").status, 2);
  assert.match(zcache("serve", "--print-config").stdout, /^\[memcached\]\n(.*\n)*threads = 1$/m);
});

test("SIGHUP applies what it can and reports the rest; a bad file changes nothing", async () => {
  const file = at("h.toml");
  const config = (memcached: string, nbd: string) =>
    writeFileSync(file, `[memcached]\n${memcached}\n[nbd]\nsize = "4M"\n${nbd}\n`);
  config('max-conns = 100\nmax-item-size = "30M"\nmemory-max = "64M"', "");
  const server = await daemon("--config", "h.toml", ...ANYWHERE, "--control", "h.ctl");
  const value = async (name: string) => (await askControl(at("h.ctl"), { get: [name] }))[name];
  assert.equal(await value("memcached.max-conns"), "100");

  // The second limit is possible only after the first has been lowered, or the other way round.
  const second = 'max-item-size = "8M"\nidle-timeout = 1\nthreads = 2';
  config(`max-conns = 50\nmemory-max = "32M"\n${second}`, "recompress-idle = 7");
  server.kill("SIGHUP");
  await server.untilErrors(/recompress-idle/);
  assert.equal(
    server.errors,
    "zcache: reload: memcached.memory-max is now 33554432\n" +
      "zcache: reload: memcached.max-item-size is now 8388608\n" +
      "zcache: reload: memcached.max-conns is now 50\n" +
      "zcache: reload: memcached.threads is unchanged: a change needs a restart\n" +
      "zcache: reload: memcached.idle-timeout is now 1\n" +
      "zcache: reload: nbd.recompress-idle is now 7\n",
  );
  assert.equal(await value("memcached.max-conns"), "50");
  assert.equal(await value("memcached.memory-max"), "33554432");
  assert.equal(await value("nbd.recompress_idle"), "7");

  // A client that says nothing is closed now, which it was not before.
  const idle = connect(portOf(server.text, "memcached"), "127.0.0.1");
  const closed = once(idle.resume(), "close");
  idle.setTimeout(30_000, () => idle.destroy(new Error("it is not closed")));
  await closed;

  writeFileSync(file, "[memcached]\nmax-conns = 10\nthreads = 0\n");
  server.kill("SIGHUP");
  await server.untilErrors(/reload: nothing was changed: h\.toml:3: memcached\.threads: "0"/);
  assert.equal(await value("memcached.max-conns"), "50");

  config(`max-conns = 50\nmemory-max = "5G"\n${second}`, "recompress-idle = 7");
  server.kill("SIGHUP");
  await server.untilErrors(/memory-max is unchanged: the daemon can grow to 4294901760 bytes/);
  assert.equal((await server.end()).code, 0);
});

const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;
const noOpenssl = !hasOpenssl && process.env["CI"] !== "true" && "openssl is not installed";

/** Makes a certificate of this name, and its key. */
function certify(name: string): void {
  const made = spawnSync("openssl", [
    ...["req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "2", "-subj", `/CN=${name}`],
    ...["-keyout", at("key.pem"), "-out", at("cert.pem")],
  ]);
  assert.equal(made.status, 0, String(made.stderr));
}

/** The name in the certificate of the peer. */
async function certified(socket: Socket): Promise<string> {
  const secure = connectTls({ socket, rejectUnauthorized: false });
  try {
    await once(secure, "secureConnect");
    return String(secure.getPeerCertificate().subject.CN);
  } finally {
    secure.destroy();
  }
}

test("SIGHUP makes all threads read certificates and passwords again", {
  skip: noOpenssl,
}, async () => {
  certify("first");
  writeFileSync(at("users"), "anna:one\n");
  const server = await daemon(
    ...["--memcached-listen", "127.0.0.1:0", "--memcached-listen", "notls:127.0.0.1:0"],
    ...["--memcached-threads", "2", "--memcached-auth-file", "users", "--no-web"],
    ...["--memcached-tls-cert", "cert.pem", "--memcached-tls-key", "key.pem", "--no-control"],
    ...["--nbd-size", "1M", "--nbd-socket", "c.sock", "--nbd-tls-cert", "cert.pem"],
    ...["--nbd-tls-key", "key.pem"],
  );
  const [, tls, plain] = /memcached on 127\.0\.0\.1:(\d+), 127\.0\.0\.1:(\d+)/.exec(server.text)!;
  const names = async () => {
    const nbd = await NbdClient.connect(at("c.sock"));
    assert.equal((await nbd.option(Option.STARTTLS)).type, Reply.ACK);
    nbd.socket.removeAllListeners("data");
    const all = new Set([await certified(nbd.socket)]);
    // Connections go to either thread.
    for (let n = 0; n < 12; n++) all.add(await certified(connect(Number(tls), "127.0.0.1")));
    return [...all];
  };
  const login = async (text: string) => {
    const socket = connect(Number(plain), "127.0.0.1");
    socket.write(`set x 0 0 ${text.length}\r\n${text}\r\n`);
    const [answer] = await once(socket, "data");
    socket.destroy();
    return String(answer);
  };
  assert.deepEqual(await names(), ["first"]);
  assert.equal(await login("anna one"), "STORED\r\n");
  certify("second");
  writeFileSync(at("users"), "bert:two\n");
  server.kill("SIGHUP");
  await server.untilErrors(/memcached: certificates and passwords have been read again/);
  assert.match(server.errors, /nbd: certificates have been read again/);
  assert.deepEqual(await names(), ["second"]);
  for (let n = 0; n < 8; n++) {
    assert.equal(await login("bert two"), "STORED\r\n");
    assert.match(await login("anna one"), /^CLIENT_ERROR/);
  }
  // If one setting is invalid, the valid ones are not applied either.
  writeFileSync(at("users"), "carl:three\n");
  writeFileSync(at("key.pem"), "no key");
  server.kill("SIGHUP");
  await server.untilErrors(/reload: nothing was changed: .*TLS certificate or key/);
  assert.deepEqual(await names(), ["second"]);
  assert.equal(await login("bert two"), "STORED\r\n");
  assert.equal((await server.end()).code, 0);
});

test("memcached's items survive a planned restart", async () => {
  const args = [...ANYWHERE, "--memcached-persist", "items", "--no-control", "--no-web"];
  const first = await daemon(...args);
  assert.equal(await ask(portOf(first.text, "memcached"), "set k 5 0 1\r\nv"), "STORED\r\n");
  assert.equal((await first.end()).code, 0);
  const second = await daemon(...args);
  const answer = await ask(portOf(second.text, "memcached"), "get k");
  assert.equal(answer, "VALUE k 5 1\r\nv\r\nEND\r\n");
  assert.equal((await second.end()).code, 0);
});

test("a second signal ends the daemon at once", async () => {
  const server = await daemon(...ANYWHERE, "--control", "s.ctl");
  // A client that does not disconnect delays the graceful end by half a second.
  const port = portOf(server.text, "memcached");
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  socket.on("error", () => {}).resume();
  await once(socket, "connect");
  const asked = once(socket, "end");
  const begun = performance.now();
  server.kill("SIGTERM");
  await asked;
  const { code, signal } = await server.end("SIGTERM");
  // Unless this process was held up for so long that the graceful end came first.
  const isLate = performance.now() - begun > 450 && code === 0;
  assert.ok(signal === "SIGTERM" || isLate, `${code} ${signal}`);
  socket.destroy();
  // The first one alone ends it too, and what it waits for has an end.
  const patient = await daemon(...ANYWHERE, "--no-control");
  const where = { port: portOf(patient.text, "memcached"), host: "127.0.0.1" };
  const stays = connect({ ...where, allowHalfOpen: true });
  stays.on("error", () => {}).resume();
  await once(stays, "connect");
  assert.equal((await patient.end()).code, 0);
  stays.destroy();
});

test("the control socket has the file mode that is set", async () => {
  const closed = await daemon(...ANYWHERE, "--control", "m1.ctl");
  assert.equal(statSync(at("m1.ctl")).mode & 0o777, 0o600);
  await closed.end();
  const open = await daemon(...ANYWHERE, "--control", "m2.ctl", "--control-mode", "660");
  assert.equal(statSync(at("m2.ctl")).mode & 0o777, 0o660);
  await open.end();
});

test("a service that others can reach without authentication causes a warning", async () => {
  const server = await daemon(
    ...["--memcached-listen", "0.0.0.0:0", "--nbd-listen", "0.0.0.0:0", "--nbd-size", "1M"],
    ...["--web-listen", "0.0.0.0:0", "--no-control"],
  );
  const { errors } = await server.end();
  for (const service of ["memcached", "nbd", "web"]) {
    assert.match(errors, new RegExp(`^zcache: warning: ${service}: 0\\.0\\.0\\.0 is open`, "m"));
  }
  const guarded = await daemon(
    ...["nbd", "--listen", "0.0.0.0:0", "--allow", "127.0.0.1", "--size", "1M", "--no-control"],
  );
  assert.equal((await guarded.end()).errors, "");
});

test("systemd is notified when the daemon serves and when it ends", async () => {
  const notify = at("systemd-notify");
  writeFileSync(notify, `#!/bin/sh\necho "$@" >> "${at("notified")}"\n`);
  chmodSync(notify, 0o755);
  const before = { ...process.env };
  process.env["NOTIFY_SOCKET"] = at("notify.sock");
  process.env["PATH"] = `${at("")}${delimiter}${process.env["PATH"]}`;
  try {
    const server = await daemon(...ANYWHERE, "--no-control");
    const said = async (text: string) => {
      for (let n = 0; n < 500; n++) {
        const all = existsSync(at("notified")) ? spawnSync("cat", [at("notified")]).stdout : "";
        if (String(all).includes(text)) return;
        await new Promise((done) => setTimeout(done, 20));
      }
      assert.fail(`systemd did not receive ${text}`);
    };
    await said(`--pid=${server.pid} --ready`);
    await server.end();
    await said(`--pid=${server.pid} --stopping`);
  } finally {
    process.env = before;
  }
});

test("zcache top prints one page, lines in a pipe, and usage errors", async () => {
  const server = await daemon(...ANYWHERE, "--nbd-size", "4M", "--control", "t.ctl");
  await ask(portOf(server.text, "memcached"), "set k 0 0 1\r\nv\r\nget k");
  const { status, stdout } = zcache("top", "--once", "--socket", "t.ctl");
  assert.equal(status, 0);
  assert.match(stdout, /^zcache \S+ {3}up 0:00:\d\d {3}resident .*rates since the start$/m);
  assert.match(stdout, /^memcached {3}lz4 .*\n {2}memory .* of 64\.0 MiB/m);
  assert.match(stdout, /^ {2}hits +100\.0 %/m);
  assert.match(stdout, /^nbd {3}lz4/m);
  assert.ok(!stdout.includes("\x1b"), "no control sequences");
  for (const interval of ["0", "x", "1e9", "-1"]) {
    const wrong = zcache("top", "--socket", "t.ctl", `--interval=${interval}`);
    assert.equal(wrong.status, 2, interval);
  }
  assert.equal(zcache("top", "--socket", "nobody.ctl").status, 1);

  const child = spawn(process.execPath, [
    MAIN,
    "top",
    "--interval",
    "0.1",
    "--socket",
    at("t.ctl"),
  ]);
  let lines = "";
  child.stdout.on("data", (data) => {
    lines += data;
  });
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  for (let n = 0; n < 1000 && lines.split("\n").length < 8; n++) {
    await new Promise((done) => setTimeout(done, 20));
  }
  await server.end();
  // The daemon has ended: `top` reports it and ends.
  assert.equal(await ended, 1);
  assert.match(lines, /^time +service +ops\/s .*\n\S+ nbd .*\n\S+ memcached .*\n\S+ nbd /);
  assert.ok(!lines.includes("\x1b"));
});
