// Servers whose process is killed while clients store and delete items: the next server has each
// item in one of its last states, complete.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Xorshift32 } from "../../src/base/random.ts";
import { Client, noise, set } from "./server_fixture.ts";

const CLI = fileURLToPath(new URL("../../src/cli/main.js", import.meta.url));
const KILLS = Number(process.env["ZCACHE_KILLS"] ?? 6);
/** A change acknowledged this long before the kill is in the log, also on a busy machine. */
const SURE_MS = 3000;
/** Minimum time that a server works before it is killed. */
const LIFE_MS = 3100;

const folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "zcache-mc-"));
after(() => rmSync(folder, { recursive: true, force: true }));

interface Killed {
  readonly client: Client;
  kill(): Promise<void>;
}

async function startToKill(at: string, shards: number): Promise<Killed> {
  const socket = join(at, "socket");
  rmSync(socket, { force: true });
  const args = ["serve", "memcached", "--socket", socket, "--persist", join(at, "items")];
  args.push("--threads", "2", "--shards", String(shards));
  const child = spawn(process.execPath, [CLI, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  await new Promise<void>((resolve, reject) => {
    child.stdout.once("data", () => resolve());
    child.once("exit", () => reject(new Error("the server has ended")));
  });
  const client = await Client.open({ path: socket });
  return {
    client,
    kill: async () => {
      child.kill("SIGKILL");
      await exited;
      client.close();
    },
  };
}

for (const shards of [1, 3]) {
  const name = `${KILLS} killed servers, ${shards} shard(s): each item has one of its last states`;
  test(name, () => killServers(shards));
}

async function killServers(shards: number): Promise<void> {
  const at = join(folder, String(shards));
  mkdirSync(at);
  // By key: the stored values with the times of the replies; 0 stands for deleted.
  const history = new Map<string, { readonly n: number; readonly ms: number }[]>();
  let n = 0;
  for (let run = 0; run < KILLS; run++) {
    const { client, kill } = await startToKill(at, shards);
    const until = performance.now() + LIFE_MS + ((run * 7919) % 400);
    const random = new Xorshift32(run + 1);
    while (performance.now() < until) {
      const key = `k${random.below(40)}`;
      const states = history.get(key) ?? [];
      history.set(key, states);
      const isDelete = random.below(4) === 0;
      n++;
      const reply = isDelete
        ? await client.ask(`delete ${key}\r\n`)
        : await client.ask(set(key, `${n}:${noise(n, 300)}`));
      assert.match(reply, /^(STORED|DELETED|NOT_FOUND)\r\n$/);
      states.push({ n: isDelete ? 0 : n, ms: performance.now() });
    }
    const killedAt = performance.now();
    await kill();
    const next = await startToKill(at, shards);
    for (const [key, states] of history) {
      const reply = await next.client.ask(`get ${key}\r\n`, "END\r\n");
      const found = Number(/\r\n(\d+):/.exec(reply)?.[1] ?? 0);
      if (found > 0) assert.ok(reply.includes(`${found}:${noise(found, 300)}\r\n`), "it is whole");
      const sure = states.filter(({ ms }) => ms < killedAt - SURE_MS).length;
      const possible = states.slice(Math.max(0, sure - 1)).map((state) => state.n);
      if (sure === 0) possible.push(0);
      assert.ok(possible.includes(found), `${key}: ${found} of ${possible.join()}`);
      history.set(key, [{ n: found, ms: 0 }]);
    }
    await next.kill();
  }
}
