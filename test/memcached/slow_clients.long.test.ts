// Clients that do not read their replies, or do not complete their requests: others are served, and
// the memory that all of them take together is bounded.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { connect as tlsConnect } from "node:tls";
import type { MemcachedServer } from "../../src/memcached/server.ts";
import { Client, portOf, startServer } from "./server_fixture.ts";

const folder = mkdtempSync(join(tmpdir(), "zcache-slow-"));
const servers: MemcachedServer[] = [];
after(async () => {
  for (const server of servers) await server.close(false);
  rmSync(folder, { recursive: true });
});

async function serving(settings: Parameters<typeof startServer>[0] = {}, tls = false) {
  const server = await startServer(settings, tls ? { tls: certificate() } : {});
  servers.push(server);
  const port = portOf(server);
  const open = () => Client.open({ port, host: "127.0.0.1" });
  const stat = (name: string) => Number(server.stats()[name]);
  return { server, port, open, stat };
}

function certificate() {
  const cert = join(folder, "cert.pem");
  const key = join(folder, "key.pem");
  const args = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"];
  const files = ["-subj", "/CN=zcache", "-keyout", key, "-out", cert];
  execFileSync("openssl", [...args, ...files], { stdio: "ignore" });
  return { cert, key };
}

async function until(fact: () => boolean, what: string): Promise<void> {
  const end = Date.now() + 60_000;
  while (!fact()) {
    assert.ok(Date.now() < end, what);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

describe("slow clients", () => {
  test("the send queue of all clients is bounded, and a client that reads is served", async () => {
    const unsentBytesMax = 2 * 1024 * 1024;
    const { open, stat } = await serving({ unsentBytesMax });
    const value = Buffer.alloc(900_000, "x").toString();
    const other = await open();
    await other.ask(`set big 0 0 ${value.length}\r\n${value}\r\n`);
    const deaf: Client[] = [];
    let most = 0;
    for (let i = 0; i < 16; i++) {
      const client = await open();
      client.socket.pause();
      client.send("get big\r\n".repeat(100));
      deaf.push(client);
      assert.equal(await other.ask("mn\r\n"), "MN\r\n");
      most = Math.max(most, stat("response_obj_bytes"));
    }
    await until(() => stat("response_obj_oom") > 0, "the slowest are closed");
    const whole = await other.ask("get big\r\n", "END\r\n");
    assert.equal(whole.length, value.length + "VALUE big 0 900000\r\n\r\nEND\r\n".length);
    most = Math.max(most, stat("response_obj_bytes"));
    assert.ok(most > 0 && most <= unsentBytesMax + value.length + 200_000, `${most} bytes`);
    for (const client of deaf) client.close();
    await until(() => stat("response_obj_bytes") === 0, "nothing waits for who has gone");
  });

  test("requests of a disconnected client are not executed", async () => {
    const { open, stat } = await serving();
    const value = Buffer.alloc(900_000, "x").toString();
    const other = await open();
    await other.ask(`set big 0 0 ${value.length}\r\n${value}\r\n`);
    const each = 3000;
    const gone: Client[] = [];
    for (let i = 0; i < 4; i++) {
      const client = await open();
      client.socket.pause();
      client.send("get big\r\n".repeat(each));
      gone.push(client);
    }
    let before = -1;
    let looks = 0;
    await until(() => {
      looks = stat("cmd_get") === before ? looks + 1 : 0;
      before = stat("cmd_get");
      return before >= gone.length && looks === 50;
    }, "they are behind, and nothing more is done for them");
    for (const client of gone) client.socket.destroy();
    await until(() => stat("curr_connections") === 1, "they are gone");
    assert.equal(await other.ask("mn\r\n"), "MN\r\n");
    // One read of a connection returns some thousand gets.
    const more = stat("cmd_get") - before;
    assert.ok(more < 100, `${more} gets more, of ${gone.length * each} that were asked for`);
  });

  test("lists of all items are not produced for a client that does not read them", async () => {
    const { open, stat } = await serving();
    const other = await open();
    const count = 60_000;
    for (let at = 0; at < count; at += 2000) {
      let text = "";
      for (let i = at; i < at + 2000; i++)
        text += `set a_rather_long_key_${i} 0 0 1 noreply\r\nx\r\n`;
      assert.equal(await other.ask(`${text}mn\r\n`), "MN\r\n");
    }
    const deaf: Client[] = [];
    for (let i = 0; i < 8; i++) {
      const client = await open();
      client.socket.pause();
      client.send("lru_crawler metadump all\r\n".repeat(200));
      deaf.push(client);
    }
    // Other clients are served in between; the lists stop when the clients' buffers are full.
    let before = -1;
    await until(() => {
      const now = stat("bytes_written");
      const isStill = now === before && now > 1e6;
      before = now;
      return isStill;
    }, "it comes to rest");
    assert.equal(await other.ask("mn\r\n"), "MN\r\n");
    const all = 8 * 200 * count * 80;
    assert.ok(stat("bytes_written") < all / 20, `${stat("bytes_written")} of ${all} bytes`);
    for (const client of deaf) client.close();
  });

  test("a limit of the send queue below the stream's own mark stops no client", async () => {
    const { open } = await serving({ backlogBytesMax: 4096 });
    const slow = await open();
    const value = "x".repeat(9000);
    await slow.ask(`set k 0 0 ${value.length}\r\n${value}\r\n`);
    slow.socket.pause();
    const gets = 3000;
    slow.send(`${"get k\r\n".repeat(gets)}mn\r\n`);
    const other = await open();
    assert.equal(await other.ask("mn\r\n"), "MN\r\n");
    let bytes = 0;
    let last = "";
    slow.socket.removeAllListeners("data");
    slow.socket.on("data", (chunk) => {
      bytes += (chunk as Buffer).length;
      last = (last + chunk.toString("latin1")).slice(-4);
    });
    slow.socket.resume();
    await until(() => last === "MN\r\n", "all replies come");
    assert.equal(bytes, gets * ("VALUE k 0 9000\r\n\r\nEND\r\n".length + value.length) + 4);
  });

  test("a connection that the server has ended closes even if the client never reads", async () => {
    // The limit allows all replies to wait, so the server reads `quit` before any is taken.
    const bytesMax = 64 * 1024 * 1024;
    const { server, open } = await serving({ backlogBytesMax: bytesMax, unsentBytesMax: bytesMax });
    const slow = await open();
    const value = "x".repeat(1_000_000);
    await slow.ask(`set k 0 0 ${value.length}\r\n${value}\r\n`);
    slow.socket.pause();
    slow.send(`${"get k\r\n".repeat(20)}quit\r\n`);
    await until(() => server.connections === 0 || slow.ended, "it is closed");
    slow.close();
  });
});

describe("TLS handshakes", () => {
  test("unfinished handshakes are closed, and other clients are served", async () => {
    const { port, stat, server } = await serving({ tlsHandshakeS: 1 }, true);
    const stalled = Array.from({ length: 50 }, () => new Client(connect(port, "127.0.0.1")));
    // A handshake sent byte by byte, without long pauses.
    const hello = Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03]);
    const trickle = setInterval(() => {
      for (const [nth, client] of stalled.entries()) {
        if (nth % 2 === 0 && !client.ended) client.send(Buffer.alloc(1, hello[nth % hello.length]));
      }
    }, 100);
    try {
      const client = new Client(tlsConnect({ port, host: "127.0.0.1", rejectUnauthorized: false }));
      assert.equal(await client.ask("mn\r\n"), "MN\r\n");
      await until(() => stalled.every(({ ended }) => ended), "all are closed");
      // The connection with a complete handshake stays open.
      await new Promise((resolve) => setTimeout(resolve, 1500));
      assert.equal(await client.ask("mn\r\n"), "MN\r\n");
      assert.equal(server.connections, 1);
      assert.equal(stat("internal_errors"), 0);
      client.close();
    } finally {
      clearInterval(trickle);
    }
  });

  test("connections in a handshake count as connections", async () => {
    const { port, open } = await serving({ connectionsMax: 3, tlsHandshakeS: 60 }, true);
    const stalled = [await open(), await open(), await open()];
    const more = await open();
    await more.untilEnd();
    stalled[0]!.close();
    // Other clients are refused until the server has noticed that one has disconnected.
    let answer = "";
    while (answer !== "MN\r\n") {
      const client = new Client(tlsConnect({ port, host: "127.0.0.1", rejectUnauthorized: false }));
      client.send("mn\r\n");
      answer = await client.until((text) => text === "MN\r\n" || client.ended);
      client.close();
    }
    for (const one of [...stalled, more]) one.close();
  });
});

describe("Unix sockets", () => {
  for (const [mode, mask] of [
    [undefined, 0o022],
    [0o777, 0o077],
    [0o660, 0o000],
  ] as const) {
    test(`mode ${mode?.toString(8) ?? "by default"}, umask ${mask.toString(8)}`, async () => {
      const path = join(folder, `socket-${mode}`);
      const before = process.umask(mask);
      try {
        servers.push(await startServer({}, { path, mode }));
      } finally {
        process.umask(before);
      }
      assert.equal(statSync(path).mode & 0o777, mode ?? 0o700);
      const client = await Client.open({ path });
      assert.equal(await client.ask("mn\r\n"), "MN\r\n");
      client.close();
    });
  }
});
