// `zcache serve nbd` as a process: invalid settings, control while it runs, its end, and the
// control socket.
import assert from "node:assert/strict";
import { existsSync, readdirSync, statSync } from "node:fs";
import { connect } from "node:net";
import { test } from "node:test";
import fc from "fast-check";
import { askControl, ControlServer } from "../../../src/monitor/control.ts";
import { parseControlReply, parseControlRequest } from "../../../src/monitor/control_protocol.ts";
import { Command } from "../../../src/nbd/protocol/protocol.ts";
import { NbdClient } from "../../doubles/nbd_client.ts";
import { fillPage } from "../../doubles/store_fixture.ts";
import { serveFixture } from "./fixture.ts";

const { folder, at, zcache, daemon: start } = serveFixture();
/** A daemon that serves block devices. */
const daemon = (...args: string[]) => start("nbd", ...args);

test("an invalid configuration is a usage error of one line", () => {
  const cases: [string[], RegExp][] = [
    [["--socket", "a"], /--size/],
    [["--size", "0", "--socket", "a"], /--size/],
    [["--size", "many", "--socket", "a"], /--size: "many"/],
    [["--size", "1G", "--listen", "1:2:3"], /--listen: "1:2:3" is not allowed; write HOST:PORT/],
    [["--size", "1G", "--listen", "host:99999"], /--listen/],
    [["--size", "1G", "--socket", "a", "--codec", "nope"], /nope/],
    [["--size", "1G", "--socket", "a", "--recompress", "nope"], /nope/],
    [["--size", "1G", "--socket", "a", "--pool", "nope"], /nope/],
    [
      ["--size", "1G", "--socket", "a", "--memory-max", "300G"],
      /--memory-max: 300G is not allowed/,
    ],
    [["--size", "1G", "--socket", "a", "--threads", "0"], /--threads/],
    [["--size", "1G", "--socket", "a", "--export", "=1G"], /--export/],
    [["--export", "a=1G", "--export", "a=2G", "--socket", "a"], /twice/],
    [["--size", "1G", "--socket", "a", "--socket-mode", "9"], /--socket-mode/],
    [["--size", "1G", "--socket", "a", "--tls", "required"], /--tls-key/],
    [["--size", "1G", "--listen", "127.0.0.1:0", "--allow", "x"], /--allow: "x" is not allowed/],
    [["--size", "1G", "--socket", "a", "--write-back-type", "x"], /--write-back-type/],
  ];
  for (const [args, message] of cases) {
    const { status, stdout, stderr } = zcache("serve", "nbd", "--no-control", ...args);
    assert.match(stderr, message);
    assert.equal(stderr.trimEnd().split("\n").length, 1, stderr);
    assert.deepEqual([stdout, status], ["", 2], args.join(" "));
  }
  assert.equal(zcache("serve", "nbd", "--help").status, 0);
  assert.equal(zcache("ctl", "--socket", at("nobody")).status, 1);
  assert.equal(zcache("ctl", "a=1", "b").status, 2);
});

test("a device survives a planned restart, and knobs take effect while it runs", async () => {
  const common = ["--socket", "d.sock", "--control", "d.ctl", "--image", "d.image"];
  const args = ["--size", "16M", "--export", "more=4M", "--memory-max", "32M", ...common];
  const first = await daemon(...args, "--max-connections", "4");
  const client = await NbdClient.open(at("d.sock"));
  const more = await NbdClient.open(at("d.sock"), { name: "more" });
  const data = Buffer.from(fillPage(new Uint8Array(4096), "text", 1));
  assert.equal((await client.request(Command.WRITE, 12_345, 4096, { data })).error, 0);
  assert.equal((await more.request(Command.WRITE, 0, 4096, { data })).error, 0);
  const get = zcache("ctl", "--socket", "d.ctl", "mm_stat", "disksize:more");
  assert.match(get.stdout, /^mm_stat=12288 \d+ \d+ 33554432 \d+ 0 0 0 0\ndisksize:more=4194304\n$/);
  const set = zcache("ctl", "--socket", "d.ctl", "mem_limit=20M", "recompress_idle=5");
  assert.match(set.stdout, /^mem_limit=209\d{5}\nrecompress_idle=5\n$/);
  assert.equal(zcache("ctl", "--socket", "d.ctl", "mem_limit=20G").status, 2);
  assert.equal(zcache("ctl", "--socket", "d.ctl", "mem_limit=").status, 2);
  assert.equal(zcache("ctl", "--socket", "d.ctl", "mem_limit=0").stdout, "mem_limit=33554432\n");
  assert.equal(zcache("ctl", "--socket", "d.ctl", "mm_stat=1").status, 2);
  assert.match(zcache("ctl", "--socket", "d.ctl").stdout, /^writeback_limit +rw +0 +units/m);
  assert.match(zcache("stats", "--socket", "d.ctl").stdout, /^server\.connections=2$/m);
  const stats = JSON.parse(zcache("stats", "--json", "--socket", "d.ctl").stdout);
  assert.equal(stats.orig_data_size, 12288);
  const { code, text } = await first.end();
  assert.equal(code, 0);
  assert.match(text, /^saved 3 pages to d\.image$/m);
  for (const one of [client, more]) one.close();
  const second = await daemon(...args);
  const again = await NbdClient.open(at("d.sock"));
  assert.ok((await again.request(Command.READ, 12_345, 4096)).data.equals(data));
  again.close();
  const moreAgain = await NbdClient.open(at("d.sock"), { name: "more" });
  assert.ok((await moreAgain.request(Command.READ, 0, 4096)).data.equals(data));
  moreAgain.close();
  assert.equal((await second.end("SIGINT")).code, 0);
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.startsWith("d.")),
    ["d.image"],
  );
});

test("pages that do not fit are written back, and read correctly", async () => {
  const limits = ["--memory-max", "8M", "--write-back", "w.file", "--max-connections", "4"];
  const daemon1 = await daemon("--size", "32M", "--socket", "w.sock", "--no-control", ...limits);
  const client = await NbdClient.open(at("w.sock"));
  const page = new Uint8Array(4096);
  const count = 4000;
  for (let n = 0; n < count; n++) {
    const data = Buffer.from(fillPage(page, "noise", n));
    assert.equal((await client.request(Command.WRITE, n * 4096, 4096, { data })).error, 0);
  }
  for (let n = 0; n < count; n += 16) {
    const { data, error } = await client.request(Command.READ, n * 4096, 16 * 4096);
    assert.equal(error, 0);
    for (let i = 0; i < 16; i++) {
      const expected = fillPage(page, "noise", n + i);
      assert.ok(data.subarray(i * 4096, (i + 1) * 4096).equals(expected), `page ${n + i}`);
    }
  }
  client.close();
  assert.equal((await daemon1.end()).code, 0);
});

test("the control socket takes lines in pieces and refuses bad ones", async () => {
  let value = "1";
  const path = at("c.ctl");
  const server = await ControlServer.start({
    path,
    knobs: [
      { name: "a", describe: "a number", get: () => value, set: (text) => (value = text) },
      { name: "b", describe: "fixed", get: () => "2" },
    ],
    stats: () => ({ much: 1 }),
  });
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.deepEqual(await askControl(path, { get: ["a", "b"] }), { a: "1", b: "2" });
  assert.deepEqual(await askControl(path, { set: { a: "5" } }), { a: "5" });
  assert.deepEqual(await askControl(path, { stats: true }), { much: 1 });
  assert.deepEqual((await askControl(path, { list: true }))["b"], {
    ...{ value: "2", describe: "fixed", writable: false },
  });
  await assert.rejects(askControl(path, { set: { b: "5" } }), { code: "ERR_OPTION" });
  await assert.rejects(askControl(path, { get: ["c"] }), { code: "ERR_OPTION" });
  const socket = connect(path);
  socket.on("error", () => {});
  let text = "";
  socket.setEncoding("utf8");
  socket.on("data", (data: string) => {
    text += data;
  });
  socket.write('{"get":["a"');
  await new Promise((done) => setTimeout(done, 20));
  socket.write("]}\nnonsense\n{}\n");
  for (let n = 0; n < 6000 && text.split("\n").length < 4; n++) {
    await new Promise((done) => setTimeout(done, 10));
  }
  const replies = text.trimEnd().split("\n").map(parseControlReply);
  assert.deepEqual(replies[0], { ok: { a: "5" } });
  assert.deepEqual(
    replies.slice(1).map((reply) => reply !== null && "code" in reply && reply.code),
    ["ERR_OPTION", "ERR_OPTION"],
  );
  const closed = new Promise((done) => socket.once("close", done));
  socket.write("x".repeat(200_000));
  await closed;
  await assert.rejects(ControlServer.start({ path, knobs: [], stats: () => ({}) }), {
    code: "ERR_IO",
  });
  await server.close();
  assert.ok(!existsSync(path));
});

test("random control lines are parsed or refused", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (line) => {
      parseControlRequest(line);
      parseControlReply(line);
    }),
  );
  for (const line of ["[]", "null", '{"get":[1]}', '{"set":{"a":1}}', '{"get":[],"list":true}']) {
    assert.equal(parseControlRequest(line), null, line);
  }
});
