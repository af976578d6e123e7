// What protects the records: one owner, no server that drops or loses them unnoticed, passwords,
// TLS, and answers that no server would give.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { inspect } from "node:util";
import { without } from "../../bench/programs.ts";
import type { Remote } from "../../src/backing/remote_contract.ts";
import type { RemoteOptions } from "../../src/remote/options.ts";
import { createRemote } from "../../src/remote/remote.ts";
import { type EngineServer, noServers, startNode, until } from "../doubles/engine_servers.ts";
import { temporaryFolder } from "../doubles/temporary_folder.ts";
import {
  assertFound,
  keyOf,
  listAll,
  PREFIX,
  recordOf,
  removeAll,
  upTo,
} from "./remote_fixture.ts";

const LIBRARY = fileURLToPath(new URL("../../src/index.js", import.meta.url));
const OPTIONS = { skip: noServers, timeout: 120_000 };
const TIMEOUT_MS = 20_000;

const servers: EngineServer[] = [];
const remotes: Remote[] = [];
after(async () => {
  for (const remote of remotes) await remote.close();
  for (const server of servers) await server.end();
});

async function start(...options: string[]): Promise<EngineServer> {
  const server = await startNode(options);
  servers.push(server);
  return server;
}

function open(address: string, options: Partial<RemoteOptions> = {}): Remote {
  const all = {
    nodes: [address],
    prefix: PREFIX,
    timeoutMs: TIMEOUT_MS,
    leaseMs: 1000,
    ...options,
  };
  const remote = createRemote(all);
  remotes.push(remote);
  return remote;
}

test("ephemeral records end by themselves, persistent ones do not", OPTIONS, async () => {
  const server = await start();
  const remote = open(server.address, { ttl: "1h" });
  const epoch = await remote.acquire();
  await remote.put([recordOf(1, epoch, true), recordOf(2, epoch, false)]);
  const ttlOf = async (nth: number) => {
    const { run, name } = keyOf(nth, epoch);
    return Number(await server.command("PTTL", `${PREFIX}:r:${epoch}:{${run}}:${name}`));
  };
  assert.equal(await ttlOf(1), -1);
  const ttl = await ttlOf(2);
  assert.ok(ttl > 0 && ttl <= 3_600_000, String(ttl));
});

test("a server that may drop persistent records is refused", OPTIONS, async () => {
  const server = await start("--maxmemory-policy", "allkeys-lru");
  await assert.rejects(open(server.address).acquire(), {
    code: "ERR_REMOTE",
    message: /maxmemory-policy allkeys-lru.*set it to volatile-lru or noeviction/,
  });
  await server.command("CONFIG", "SET", "maxmemory-policy", "volatile-lru");
  const remote = open(server.address);
  await remote.acquire();
  assert.equal(remote.figures().problem, undefined);
  await server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-random");
  await until(async () => /allkeys-random/.test(remote.figures().problem ?? ""), "the problem");
});

test("a full server is reported, keeps its owner, and lets the next one in", OPTIONS, async () => {
  const server = await start("--maxmemory", "8mb");
  const remote = open(server.address);
  const epoch = await remote.acquire();
  const data = new Uint8Array(50_000);
  const stored: number[] = [];
  for (let nth = 0; nth < 400; nth++) {
    const [result] = await remote.put([{ ...recordOf(nth, epoch), data, prefixBytes: 0 }]);
    if (result === "full") break;
    assert.equal(result, "stored");
    stored.push(nth);
  }
  assert.ok(stored.length > 10 && stored.length < 400, String(stored.length));
  assert.equal(remote.figures().problem, `${server.address}: full, and refuses records`);
  // Some renewals later the lease is still there.
  const renewed = Date.now() + 2000;
  await until(async () => Date.now() > renewed, "two seconds");
  assert.equal(remote.epoch, epoch);
  const { usedBytes, limitBytes } = remote.figures().nodes[0]!;
  assert.ok(limitBytes === 8 << 20 && usedBytes! > 4 << 20);
  await remote.close();
  const next = open(server.address);
  await next.acquire();
  const [found] = await next.get([keyOf(stored[0]!, epoch)], true);
  assert.ok(typeof found === "object" && "data" in found && found.data.length === data.length);
  const more = upTo(20).map((nth) => ({ ...recordOf(nth, next.epoch), data, prefixBytes: 0 }));
  assert.ok((await next.put(more)).includes("full"));
  assert.match(next.figures().problem ?? "", /full/);
  await removeAll(next);
  assert.deepEqual(await next.put([recordOf(1, next.epoch)]), ["stored"]);
  assert.equal(next.figures().problem, undefined);
});

test("a server that was emptied is detected", OPTIONS, async () => {
  const server = await start();
  const remote = open(server.address);
  const epoch = await remote.acquire();
  await remote.put([recordOf(1, epoch)]);
  await server.command("FLUSHALL");
  await until(async () => /emptied/.test(remote.figures().problem ?? ""), "the problem");
  assert.equal(remote.epoch, 0);
  // Whoever goes on has a larger epoch all the same.
  assert.ok((await remote.acquire()) > epoch);
  assert.deepEqual(await remote.get([keyOf(1, epoch)], true), ["missing"]);
  // Between two owners too.
  await remote.close();
  await server.command("DEL", ...((await server.command("KEYS", `${PREFIX}:m:*`)) as string[]));
  const next = open(server.address);
  await next.acquire();
  assert.match(next.figures().problem ?? "", /emptied; its records are lost/);
});

test(
  "a lease that another process has taken is lost; one that has ended is renewed",
  OPTIONS,
  async () => {
    const server = await start();
    const remote = open(server.address);
    const epoch = await remote.acquire();
    const owner = `${PREFIX}:{lease}:owner`;
    await server.command("DEL", owner);
    await until(async () => (await server.command("GET", owner)) !== null, "a renewed lease");
    assert.equal(remote.epoch, epoch);
    await server.command("SET", owner, "0123 another-host 1 2 3 4");
    await until(async () => remote.epoch === 0, "the end of the lease");
    const [result] = await remote.get([keyOf(1, epoch)], true);
    assert.ok(
      result instanceof Error && /another process has taken the prefix/.test(result.message),
    );
    await assert.rejects(open(server.address).acquire(), {
      code: "ERR_REMOTE_OWNED",
      message: /zcache-test is in use by process 1 of another-host/,
    });
  },
);

test("the lease of a process that was killed is free at once", OPTIONS, async () => {
  const server = await start();
  const script = `
    import { createRemote } from ${JSON.stringify(LIBRARY)};
    const options = { nodes: ["${server.address}"], prefix: "${PREFIX}", leaseMs: 3600000 };
    process.stdout.write(String(await createRemote(options).acquire()));
    setInterval(() => {}, 1000);`;
  const args = ["--input-type=module", "-e", script];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  const [epoch] = (await once(child.stdout, "data")) as [Buffer];
  await assert.rejects(open(server.address).acquire(), { code: "ERR_REMOTE_OWNED" });
  child.kill("SIGKILL");
  await once(child, "exit");
  assert.ok((await open(server.address).acquire()) > Number(epoch));
});

test("users and passwords; no error shows a password", OPTIONS, async () => {
  const acl = ["--user", "app", "on", ">right-password", "~zcache-test:*", "+@all"];
  const server = await start(...acl, "--requirepass", "default-password");
  const remote = open(server.address, { username: "app", password: "right-password" });
  await remote.acquire();
  assert.deepEqual(await remote.put([recordOf(1, remote.epoch)]), ["stored"]);
  await remote.close();
  const cases: Partial<RemoteOptions>[] = [
    { username: "app", password: "wrong-password" },
    { password: "wrong-password" },
    {},
  ];
  for (const options of cases) {
    const failed = await open(server.address, { ...options, timeoutMs: 1000 })
      .acquire()
      .then(String, (error: unknown) => error);
    const text = inspect(failed, { depth: 9, showHidden: true });
    assert.match(text, /WRONGPASS|NOAUTH/);
    assert.doesNotMatch(text, /wrong-password/);
  }
});

test("TLS", { ...OPTIONS, skip: noServers || without("openssl") }, async () => {
  const folder = temporaryFolder("remote-tls");
  const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
  const request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"];
  const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"];
  execFileSync("openssl", [...request, ...subject, "-keyout", key, "-out", cert], {
    stdio: "ignore",
  });
  const [port] = await freePorts(1);
  const files = ["--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert];
  await start("--tls-port", String(port), "--tls-auth-clients", "no", ...files);
  const tls = { ca: readFileSync(cert) };
  const remote = open(`127.0.0.1:${port}`, { tls });
  await remote.acquire();
  await remote.put([recordOf(3, remote.epoch)]);
  assertFound((await remote.get([keyOf(3, remote.epoch)], true))[0], 3);
  const untrusting = open(`127.0.0.1:${port}`, { tls: true, timeoutMs: 1000 });
  await assert.rejects(untrusting.acquire(), { code: "ERR_REMOTE", message: /self.signed/ });
});

async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  for (let nth = 0; nth < count; nth++) {
    const listener = createServer().listen(0, "127.0.0.1");
    await once(listener, "listening");
    ports.push((listener.address() as { port: number }).port);
    listener.close();
    await once(listener, "close");
  }
  return ports;
}

/** A proxy in front of a server, which handles what the server sends. */
async function proxy(
  server: EngineServer,
  answer: (data: Buffer, client: Socket) => void,
): Promise<{ address: string; listener: Server }> {
  const listener = createServer((client) => {
    const upstream = connect(server.port, "127.0.0.1");
    client.pipe(upstream);
    upstream.on("data", (data) => answer(data, client));
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      one.on("error", () => undefined);
      one.on("close", () => other.destroy());
    }
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  after(() => listener.close());
  return { address: `127.0.0.1:${(listener.address() as { port: number }).port}`, listener };
}

test(
  "a connection that is cut in the middle of an answer gives no wrong bytes",
  OPTIONS,
  async () => {
    const server = await start();
    let budget = Number.POSITIVE_INFINITY;
    let cuts = 0;
    const { address } = await proxy(server, (data, client) => {
      if (data.length <= budget) {
        budget -= data.length;
        client.write(data);
        return;
      }
      client.end(data.subarray(0, budget));
      budget = Number.POSITIVE_INFINITY;
      cuts++;
    });
    const remote = open(address, { leaseMs: 60_000 });
    const epoch = await remote.acquire();
    const nths = upTo(100);
    const keys = nths.map((nth) => keyOf(nth, epoch));
    for (const cutAt of [0, 1, 17, 40, 333, 2000]) {
      budget = cutAt;
      // Its own answers are cut too; a put is repeated.
      const puts = await remote.put(nths.map((nth) => recordOf(nth, epoch)));
      assert.ok(puts.every((result) => result === "stored"));
      budget = cutAt;
      const found = await remote.get(keys, true);
      for (const [nth, one] of found.entries()) assertFound(one, nth);
    }
    assert.ok(cuts >= 11, `${cuts} cuts`);
    assert.ok(remote.figures().reconnects > 0);
  },
);

test("answers that no server gives are errors", OPTIONS, async () => {
  const server = await start();
  let isStrange = false;
  const { address } = await proxy(server, (data, client) => {
    if (!isStrange) client.write(data);
    // As many answers as there are questions, and none of them fits.
    else
      for (const text of data.toString("latin1").match(/\$-1\r\n|\$\d+\r\n/g) ?? []) {
        client.write(text === "$-1\r\n" ? ":7\r\n" : "*1\r\n:7\r\n");
      }
  });
  const remote = open(address, { leaseMs: 60_000 });
  const epoch = await remote.acquire();
  isStrange = true;
  assert.deepEqual(await remote.get([keyOf(1, epoch), keyOf(2, epoch)], false), [
    "corrupt",
    "corrupt",
  ]);
  isStrange = false;
  assert.deepEqual(await remote.put([recordOf(5, epoch)]), ["stored"]);
  const { run, name } = keyOf(5, epoch);
  const key = `${PREFIX}:r:${epoch}:{${run}}:${name}`;
  await server.command("APPEND", key, "x");
  assert.deepEqual(await remote.get([keyOf(5, epoch)], true), ["corrupt"]);
  await server.command("DEL", key);
  await server.command("LPUSH", key, "x");
  const [wrongType] = await remote.get([keyOf(5, epoch)], true);
  assert.ok(wrongType instanceof Error && /WRONGTYPE/.test(wrongType.message));
  assert.equal((await listAll(remote)).length, 1);
});
