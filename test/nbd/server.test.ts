// The NBD server with the tests' own client: every option and command with its errors, connections
// that end at any point, several connections on several threads, TLS.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { before, test } from "node:test";
import { connect as connectTls } from "node:tls";
import { type NbdOptions, type NbdServer, startNbdServer, Zram } from "../../src/nbd/index.ts";
import { Command, CommandFlag, Option, Reply } from "../../src/nbd/protocol/protocol.ts";
import { createStore } from "../../src/node/stores.ts";
import type { StoreOptions } from "../../src/store/options.ts";
import { NbdClient, string, u32 } from "../doubles/nbd_client.ts";
import { temporaryFolder } from "../doubles/temporary_folder.ts";

const SIZE = 8 * 1024 * 1024;
const folder = temporaryFolder("nbd");
let sockets = 0;

/** Serves one device for as long as `work` takes; the store must hold together after it. */
async function serving(
  work: (
    path: string,
    device: Zram,
    server: NbdServer,
    shrink: (pages: number) => number,
  ) => Promise<void>,
  options: Partial<NbdOptions> & {
    readonly store?: StoreOptions;
    readonly readOnly?: boolean;
  } = {},
) {
  const { store: storeOptions, readOnly = false, ...rest } = options;
  const store = createStore({ memoryMax: "32MiB", ...storeOptions });
  const device = Zram.create(store, SIZE);
  const path = join(folder, `${sockets++}.sock`);
  const server = await startNbdServer(store, {
    exports: [{ name: "disk", description: "the disk", readOnly, device }],
    listen: [{ path }],
    threads: 2,
    connectionsMax: 8,
    ...rest,
  });
  try {
    await work(path, device, server, (pages) => {
      const gone = store.shrink(pages);
      while (store.maintain());
      return gone;
    });
  } finally {
    await server.close();
  }
  store.verify();
  store.close();
}

test("options: list, info, unknown names, unknown options, wrong lengths", async () => {
  await serving(async (path) => {
    const client = await NbdClient.connect(path);
    client.sendOption(Option.LIST);
    const listed = await client.answer();
    assert.deepEqual([listed.type, listed.data.toString("latin1", 4)], [Reply.SERVER, "disk"]);
    assert.equal((await client.answer()).type, Reply.ACK);
    const refusals: [number, Buffer, number][] = [
      [Option.LIST, u32(1), Reply.ERR_INVALID],
      [99, Buffer.alloc(5), Reply.ERR_UNSUP],
      [4, Buffer.alloc(0), Reply.ERR_UNSUP],
      [11, Buffer.alloc(0), Reply.ERR_UNSUP],
      [Option.STARTTLS, Buffer.alloc(0), Reply.ERR_UNSUP],
      [Option.INFO, Buffer.concat([string("nope"), Buffer.alloc(2)]), Reply.ERR_UNKNOWN],
      [Option.INFO, string("disk"), Reply.ERR_INVALID],
      [Option.GO, Buffer.concat([u32(0xfffffff0), Buffer.from("x")]), Reply.ERR_INVALID],
      [Option.SET_META_CONTEXT, Buffer.concat([string("disk"), u32(0)]), Reply.ERR_INVALID],
      [Option.STRUCTURED_REPLY, u32(0), Reply.ERR_INVALID],
      [Option.INFO, Buffer.alloc(17_000), Reply.ERR_TOO_BIG],
    ];
    for (const [option, data, type] of refusals) {
      const answer = await client.option(option, data);
      assert.deepEqual([answer.option, answer.type], [option, type]);
    }
    client.sendOption(Option.INFO, Buffer.concat([string(""), u32(0x00020001).subarray(0, 2)]));
    assert.equal((await client.answer()).type, Reply.ERR_INVALID, "promises types, sends none");
    client.sendOption(Option.INFO, Buffer.concat([string(""), Buffer.from([0, 1, 0, 1])]));
    const info = await client.answer();
    assert.equal(info.data.readBigUInt64BE(2), BigInt(SIZE));
    assert.equal((await client.answer()).data.toString("latin1", 2), "disk");
    assert.deepEqual(
      [2, 6, 10].map(
        (
          (data) => (at: number) =>
            data.readUInt32BE(at)
        )((await client.answer()).data),
      ),
      [1, 4096, 64 * 1024 * 1024],
    );
    assert.equal((await client.answer()).type, Reply.ACK);
    assert.equal((await client.option(Option.ABORT)).type, Reply.ACK);
    await client.end();
  });
});

test("EXPORT_NAME: with zeros and without; an unknown name ends the connection", async () => {
  await serving(async (path) => {
    for (const [flags, zeros] of [
      [1, 124],
      [3, 0],
    ] as const) {
      const client = await NbdClient.connect(path, flags);
      client.sendOption(Option.EXPORT_NAME, Buffer.from("disk"));
      const answer = await client.take(10 + zeros);
      assert.equal(answer.readBigUInt64BE(0), BigInt(SIZE));
      assert.equal((await client.request(Command.READ, 0, 512)).data.length, 512);
      client.send(Command.DISC, 0, 0);
      assert.equal((await client.end()).length, 0);
    }
    const client = await NbdClient.connect(path);
    client.sendOption(Option.EXPORT_NAME, Buffer.from("nope"));
    assert.equal((await client.end()).length, 0);
    const old = await NbdClient.connect(path, 4);
    assert.equal((await old.end()).length, 0, "unknown flags");
  });
});

for (const structured of [true, false]) {
  const how = structured ? "structured" : "simple";
  test(`commands and their errors, ${how} replies`, async () => {
    await serving(async (path) => {
      const client = await NbdClient.open(path, { structured });
      const data = Buffer.from(Array.from({ length: 10_000 }, (_, i) => i & 0xff));
      assert.equal((await client.request(Command.WRITE, 1000, 10_000, { data })).error, 0);
      const read = await client.request(Command.READ, 990, 10_020);
      assert.ok(read.data.subarray(10, 10_010).equals(data));
      assert.deepEqual(read.chunks, structured ? [1] : []);
      assert.equal((await client.request(Command.FLUSH, 0, 0)).error, 0);
      const { FUA, NO_HOLE, FAST_ZERO } = CommandFlag;
      const fine: [number, number, number, number][] = [
        [Command.WRITE_ZEROES, 0, SIZE, FAST_ZERO | FUA],
        [Command.WRITE_ZEROES, 4000, 9000, NO_HOLE],
        [Command.TRIM, 100, SIZE - 100, 0],
        [Command.CACHE, 0, SIZE, 0],
      ];
      for (const [command, offset, length, flags] of fine) {
        assert.equal((await client.request(command, offset, length, { flags })).error, 0);
      }
      const wrong: [number, number | bigint, number, number, number][] = [
        [Command.READ, SIZE, 1, 0, 22],
        [Command.READ, SIZE - 1, 2, 0, 22],
        [Command.READ, 2n ** 64n - 1n, 4096, 0, 22],
        [Command.READ, 0, 0, 0, 22],
        [Command.READ, 0, 2 ** 32 - 1, 0, 22],
        [Command.READ, 0, 10, NO_HOLE, 22],
        [Command.TRIM, SIZE, 4096, 0, 22],
        [Command.WRITE_ZEROES, SIZE - 1, 4096, 0, 28],
        [Command.FLUSH, 0, 1, 0, 22],
        [8, 0, 4096, 0, 22],
        [999, 0, 4096, 0, 22],
        [Command.CACHE, SIZE + 1, 4096, 0, 22],
        [Command.BLOCK_STATUS, 0, 0, 0, 22],
      ];
      for (const [command, offset, length, flags, error] of wrong) {
        const reply = await client.request(command, offset, length, { flags });
        assert.equal(reply.error, error, `command ${command} at ${offset}, ${length} bytes`);
      }
      const beyond = { data: Buffer.alloc(5000) };
      assert.equal((await client.request(Command.WRITE, SIZE - 4999, 5000, beyond)).error, 28);
      const all = await client.request(Command.READ, 0, SIZE);
      assert.ok(all.data.equals(Buffer.alloc(SIZE)));
      client.close();
    });
  });
}

test("block status: holes, zeros and data", async () => {
  await serving(async (path, device) => {
    device.write(8192, new Uint8Array(8192).fill(1));
    const client = await NbdClient.open(path);
    const flags = CommandFlag.NO_HOLE;
    assert.equal((await client.request(Command.WRITE_ZEROES, 16384, 4096, { flags })).error, 0);
    const { data, chunks } = await client.request(Command.BLOCK_STATUS, 0, SIZE);
    assert.deepEqual(chunks, [5]);
    const words = Array.from({ length: data.length / 4 }, (_, i) => data.readUInt32BE(i * 4));
    assert.deepEqual(words, [1, 8192, 3, 8192, 0, 4096, 2, SIZE - 20480, 3]);
    const one = { flags: CommandFlag.REQ_ONE };
    assert.equal((await client.request(Command.BLOCK_STATUS, 0, SIZE, one)).data.length, 12);
    client.close();
  });
});

test("read-only: every command that changes data is refused with EPERM", async () => {
  await serving(
    async (path) => {
      const client = await NbdClient.open(path);
      const data = Buffer.alloc(4096);
      assert.equal((await client.request(Command.WRITE, 0, 4096, { data })).error, 1);
      assert.equal((await client.request(Command.TRIM, 0, 4096)).error, 1);
      assert.equal((await client.request(Command.WRITE_ZEROES, 0, 4096)).error, 1);
      assert.equal((await client.request(Command.READ, 0, 4096)).error, 0);
      client.close();
    },
    { readOnly: true },
  );
});

test("a full store: ENOSPC, and acknowledged data is kept", async () => {
  await serving(
    async (path) => {
      const client = await NbdClient.open(path);
      const taken: number[] = [];
      let refused = 0;
      for (let page = 0; page < 1500; page++) {
        const data = noise(page);
        const { error } = await client.request(Command.WRITE, page * 4096, 4096, { data });
        if (error === 0) taken.push(page);
        else {
          assert.equal(error, 28);
          if (++refused === 20) break;
        }
      }
      assert.ok(refused > 0 && taken.length > 100, `${taken.length} pages fit`);
      for (const page of taken) {
        const { data } = await client.request(Command.READ, page * 4096, 4096);
        assert.ok(data.equals(noise(page)), `page ${page}`);
      }
      client.close();
    },
    { store: { memoryMax: "5MiB" }, connectionsMax: 2 },
  );
});

function noise(seed: number): Buffer {
  let state = seed + 1;
  return Buffer.from(
    Array.from({ length: 4096 }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state >>> 24;
    }),
  );
}

test("connections that end at any point affect no others, and free all buffers", async () => {
  await serving(async (path, device, server) => {
    const steady = await NbdClient.open(path);
    const data = Buffer.alloc(100_000, 5);
    for (let round = 0; round < 40; round++) {
      const client = await (round % 3 === 0 ? NbdClient.connect(path) : NbdClient.open(path));
      if (round % 3 === 0) client.write(Buffer.from("IHAVE"));
      else if (round % 3 === 1) client.send(Command.WRITE, 0, 200_000, { data });
      else for (let n = 0; n < 50; n++) client.send(Command.READ, 0, 1_000_000);
      if (round % 2 === 0) client.socket.end();
      else client.socket.destroy();
      const reply = await steady.request(Command.READ, 4096, 4096);
      assert.equal(reply.error, 0);
      client.close();
    }
    const garbage = await NbdClient.open(path);
    garbage.send(Command.READ, 0, 4096, { magic: 0x12345678 });
    assert.equal((await garbage.end()).length, 0, "another magic hangs up");
    await until(() => server.stats().connections === 1);
    assert.equal(device.sizeBytes, SIZE);
    steady.close();
  });
});

async function until(condition: () => boolean): Promise<void> {
  for (let n = 0; n < 6000 && !condition(); n++) await new Promise((done) => setTimeout(done, 20));
  assert.ok(condition(), "it came to that in time");
}

test("replies of a client that hangs up never reach the next on its descriptor", async () => {
  await serving(async (path) => {
    for (let round = 0; round < 20; round++) {
      const rude = connect(path);
      await new Promise((done) => rude.once("connect", done));
      if (round % 2 === 0) await new Promise((done) => setTimeout(done, 5));
      rude.destroy();
      const client = await NbdClient.open(path);
      assert.equal((await client.request(Command.READ, 0, 512)).error, 0);
      client.close();
    }
  });
});

test("the server waits for a client that does not read, and serves others meanwhile", async () => {
  await serving(async (path) => {
    const stuck = await Promise.all([0, 1, 2, 3].map(() => NbdClient.open(path)));
    for (const client of stuck) {
      client.socket.pause();
      for (let n = 0; n < 300; n++) client.send(Command.READ, 0, 4 * 1024 * 1024);
    }
    const others = await Promise.all([0, 1, 2].map(() => NbdClient.open(path)));
    for (let n = 0; n < 30; n++) {
      for (const other of others) {
        assert.equal((await other.request(Command.READ, n * 4096, 65_536)).error, 0);
      }
    }
    for (const client of [...stuck, ...others]) client.close();
  });
});

test("a server ends although a client does not read, and the next one works", async () => {
  let stuck: NbdClient | undefined;
  await serving(async (path) => {
    stuck = await NbdClient.open(path);
    stuck.socket.pause();
    for (let n = 0; n < 300; n++) stuck.send(Command.READ, 0, 4 * 1024 * 1024);
    await new Promise((done) => setTimeout(done, 200));
  });
  await serving(async (path) => {
    const client = await NbdClient.open(path);
    stuck!.close();
    for (let n = 0; n < 20; n++) {
      assert.equal((await client.request(Command.READ, 0, 65_536)).error, 0);
    }
    client.close();
  });
});

test("an unfinished handshake ends at its time limit; after it, a client may be idle", async () => {
  await serving(
    async (path) => {
      const client = await NbdClient.open(path);
      const slow = await NbdClient.connect(path);
      assert.equal((await slow.end()).length, 0);
      // The other one began before, and has been idle for longer.
      assert.equal((await client.request(Command.READ, 0, 512)).error, 0, "later there is time");
      client.close();
    },
    { handshakeMs: 3000, connectionsMax: 2 },
  );
});

test("too many connections: only one that has chosen no export is replaced", async () => {
  await serving(
    async (path, _device, server) => {
      const silent = [];
      for (let nth = 0; nth < 3; nth++) silent.push(await NbdClient.connect(path));
      const clients = [];
      for (let nth = 0; nth < 3; nth++) {
        clients.push(await NbdClient.open(path));
        assert.equal((await silent[nth]!.end()).length, 0, "the oldest one gives way");
      }
      const fourth = NbdClient.on(connect(path));
      assert.equal((await fourth.end()).length, 0, "a fourth one is closed at once");
      for (const client of clients) {
        assert.equal((await client.request(Command.READ, 0, 512)).error, 0);
      }
      assert.deepEqual(server.stats(), {
        ...{ connections: 3, accepted: 6, refused: 1, internal_errors: 0 },
      });
      for (const client of clients) client.close();
    },
    { handshakeMs: 3_600_000, connectionsMax: 3, threads: 2 },
  );
});

test("a flood of silent clients keeps no other client out", async () => {
  await serving(
    async (path) => {
      const silent = Array.from({ length: 200 }, () => connect(path).on("error", () => {}));
      const client = await NbdClient.open(path);
      assert.equal((await client.request(Command.READ, 0, 512)).error, 0);
      for (const socket of silent) socket.destroy();
      client.close();
    },
    { handshakeMs: 3_600_000, connectionsMax: 4 },
  );
});

test("several connections write parts of one page at the same time: none is lost", async () => {
  await serving(async (path, device) => {
    const parts = 8;
    const part = 4096 / parts;
    const clients = await Promise.all(Array.from({ length: parts }, () => NbdClient.open(path)));
    for (let round = 1; round <= 150; round++) {
      const replies = clients.map((client, nth) => {
        const data = Buffer.alloc(part, round);
        return client.request(Command.WRITE, (round % 4) * 4096 + nth * part, part, { data });
      });
      for (const reply of await Promise.all(replies)) assert.equal(reply.error, 0);
      const page = new Uint8Array(4096);
      device.read((round % 4) * 4096, page);
      assert.ok(page.every((byte) => byte === (round & 0xff)));
    }
    for (const client of clients) client.close();
  });
});

test("only allowed addresses may connect over TCP", async () => {
  for (const [allow, isAllowed] of [
    ["127.0.0.0/8", true],
    ["10.0.0.0/8", false],
  ] as const) {
    await serving(
      async (_path, _device, server) => {
        const [host, port] = server.addresses[0]!.split(":");
        const client = NbdClient.on(connect(Number(port), host));
        if (isAllowed) assert.equal((await client.take(18)).length, 18);
        else assert.equal((await client.end()).length, 0);
        client.close();
      },
      { allow: [allow], listen: [{ host: "127.0.0.1", port: 0 }] },
    );
  }
  await assert.rejects(
    serving(async () => {}, { allow: ["10.0.0.0/33"] }),
    { code: "ERR_OPTION" },
  );
});

test("a stale socket is replaced, a served one is not", async () => {
  await serving(async (path) => {
    assert.equal(statSync(path).mode & 0o777, 0o600);
    await assert.rejects(
      serving(async () => {}, { listen: [{ path }] }),
      { code: "ERR_IO" },
    );
    const client = await NbdClient.open(path);
    client.close();
  });
});

test("no room for the buffers of all connections is an error at the start", async () => {
  const many = { store: { memoryMax: "2MiB" }, connectionsMax: 100 };
  await assert.rejects(
    serving(async () => {}, many),
    { code: "ERR_ARENA_FULL" },
  );
});

const hasOpenssl = (() => {
  try {
    execFileSync("openssl", ["version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
})();
const skip = !hasOpenssl && process.env["CI"] !== "true" && "openssl is not installed";

function openssl(...args: string[]): void {
  execFileSync("openssl", args, { stdio: "ignore", cwd: folder });
}

before(() => {
  if (skip !== false) return;
  const days = ["-days", "2", "-nodes", "-newkey", "rsa:2048"];
  for (const ca of ["ca", "other"]) {
    const subject = ["-subj", `/CN=${ca}`];
    openssl("req", "-x509", ...days, "-keyout", `${ca}.key`, "-out", `${ca}.crt`, ...subject);
  }
  for (const [name, ca] of [
    ["server", "ca"],
    ["client", "ca"],
    ["stranger", "other"],
  ]) {
    const key = ["-keyout", `${name}.key`, "-out", `${name}.csr`, "-subj", "/CN=localhost"];
    openssl("req", "-nodes", "-newkey", "rsa:2048", ...key);
    const from = ["-CA", `${ca}.crt`, "-CAkey", `${ca}.key`, "-CAcreateserial"];
    openssl("x509", "-req", "-in", `${name}.csr`, ...from, "-out", `${name}.crt`, "-days", "2");
  }
});

const pem = (name: string) => readFileSync(join(folder, name), "utf8");

test("TLS: required for all requests, and only with a client certificate", {
  skip,
}, async () => {
  const tls = { key: pem("server.key"), cert: pem("server.crt"), ca: pem("ca.crt") };
  await serving(
    async (path) => {
      const plain = await NbdClient.connect(path);
      assert.equal((await plain.option(Option.LIST)).type, Reply.ERR_TLS_REQD);
      plain.sendOption(Option.EXPORT_NAME, Buffer.from("disk"));
      await plain.end();
      for (const name of ["client", "stranger", undefined]) {
        const before = await NbdClient.connect(path);
        assert.equal((await before.option(Option.STARTTLS)).type, Reply.ACK);
        before.socket.removeAllListeners("data");
        const own = name && { key: pem(`${name}.key`), cert: pem(`${name}.crt`) };
        const options = {
          socket: before.socket,
          ca: pem("ca.crt"),
          servername: "localhost",
          ...own,
        };
        const client = NbdClient.on(connectTls(options));
        client.sendOption(Option.GO, Buffer.concat([string("disk"), Buffer.alloc(2)]));
        if (name !== "client") {
          await client.end();
          continue;
        }
        while ((await client.answer()).type !== Reply.ACK);
        const data = noise(3);
        for (let n = 0; n < 60; n++) {
          const all = Buffer.concat(Array.from({ length: 40 }, () => data));
          assert.equal(
            (await client.request(Command.WRITE, n * 7, all.length, { data: all })).error,
            0,
          );
          const read = await client.request(Command.READ, n * 7, 1_000_000);
          assert.ok(read.data.subarray(0, all.length).equals(all));
        }
        client.send(Command.DISC, 0, 0);
        await client.end();
      }
    },
    { tls },
  );
});

test("TLS: a slow client receives all small replies", { skip }, async () => {
  await serving(
    async (path) => {
      const before = await NbdClient.connect(path);
      assert.equal((await before.option(Option.STARTTLS)).type, Reply.ACK);
      before.socket.removeAllListeners("data");
      const client = NbdClient.on(connectTls({ socket: before.socket, ca: pem("ca.crt") }));
      client.sendOption(Option.GO, Buffer.concat([string("disk"), Buffer.alloc(2)]));
      while ((await client.answer()).type !== Reply.ACK);
      // Smaller than what a stream calls full, and each a reply of its own: at some point the
      // system takes no more, and one of them waits.
      client.socket.pause();
      const cookies: bigint[] = [];
      for (let n = 0; n < 400; n++) {
        cookies.push(client.send(Command.READ, 0, 4096));
        await new Promise((done) => setTimeout(done, 2));
      }
      client.socket.resume();
      for (const cookie of cookies) assert.equal((await client.reply(cookie, 4096)).error, 0);
      client.send(Command.DISC, 0, 0);
      await client.end();
    },
    { tls: { key: pem("server.key"), cert: pem("server.crt") } },
  );
});

for (const structured of [true, false]) {
  const how = structured ? "structured" : "simple";
  test(`a page that can't be read from the file: EIO, in ${how} replies`, async () => {
    const file = join(folder, `${how}.pages`);
    const store = { memoryMax: "8MiB", writeBack: { path: file, max: "32MiB" } };
    await serving(
      async (path, device, _server, shrink) => {
        const pages = 256;
        for (let n = 0; n < pages; n++) device.write(n * 4096, noise(n));
        assert.ok(shrink(pages) > pages / 2, "most of them have left memory");
        const client = await NbdClient.open(path, { structured });
        const whole = await client.request(Command.READ, 0, pages * 4096);
        assert.equal(whole.error, 0);
        assert.ok(whole.data.subarray(4096, 8192).equals(noise(1)));
        assert.ok(shrink(pages) > pages / 2);
        const size = statSync(file).size;
        writeFileSync(file, Buffer.alloc(size), { flag: "r+" });
        let lost = 0;
        for (let n = 0; n < 64; n++) {
          const { error, chunks } = await client.request(Command.READ, n * 4096, 4096);
          if (error === 0) continue;
          assert.equal(error, 5);
          assert.deepEqual(chunks, structured ? [0x8001] : []);
          lost++;
        }
        assert.ok(lost > 0, "some are lost");
        assert.equal((await client.request(Command.FLUSH, 0, 0)).error, 0, "the connection lives");
        // One that is read in many blocks: an error in the middle ends a simple reply's connection.
        const cookie = client.send(Command.READ, 64 * 4096, (pages - 64) * 4096);
        if (structured) assert.equal((await client.reply(cookie)).error, 5);
        client.close();
        assert.ok(device.ioStat().failed_reads > 0);
      },
      { store, connectionsMax: 2 },
    );
  });
}

test("200 clients that request much and read nothing delay no other client", async () => {
  await serving(
    async (path, _device, server) => {
      const other = await NbdClient.open(path);
      const data = Buffer.alloc(65_536, "kept");
      assert.equal((await other.request(Command.WRITE, 0, data.length, { data })).error, 0);
      const deaf: NbdClient[] = [];
      for (let nth = 0; nth < 200; nth++) {
        const client = await NbdClient.open(path);
        client.socket.pause();
        for (let read = 0; read < 100; read++) client.send(Command.READ, 0, 1024 * 1024);
        deaf.push(client);
      }
      const another = await NbdClient.open(path);
      for (const client of [other, another]) {
        const { error, data: found } = await client.request(Command.READ, 0, data.length);
        assert.equal(error, 0);
        assert.ok(found.equals(data));
      }
      for (const client of deaf) client.close();
      while (server.stats().connections > 2) await new Promise((done) => setTimeout(done, 10));
      assert.equal((await another.request(Command.READ, 0, data.length)).error, 0);
      assert.equal(server.stats().internal_errors, 0);
      for (const client of [other, another]) client.close();
    },
    { connectionsMax: 256, store: { memoryMax: "64MiB" } },
  );
});
