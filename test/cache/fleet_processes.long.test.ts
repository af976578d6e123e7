// Four processes share documents through a cluster: one load for each key over all of them, a copy
// in each, and no stale read.
import assert from "node:assert/strict";
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { noServers, startCluster } from "../doubles/engine_servers.ts";
import type { FleetRequest } from "./fleet_child.ts";

const CHILD = fileURLToPath(new URL("./fleet_child.js", import.meta.url));
const PROCESSES = 4;
/** 200,000 with ZCACHE_FLEET_DOCUMENTS=200000. */
const DOCUMENTS = Number(process.env["ZCACHE_FLEET_DOCUMENTS"] ?? 2000);
const ROUNDS = 50;

const children: ChildProcess[] = [];
after(() => {
  for (const child of children) child.kill("SIGKILL");
});

async function ask(child: ChildProcess, request: FleetRequest): Promise<unknown> {
  child.send(request);
  const [answer] = (await once(child, "message")) as [{ result?: unknown; error?: string }];
  assert.equal(answer.error, undefined);
  return answer.result;
}

test("four processes share documents", { skip: noServers, timeout: 900_000 }, async () => {
  const cluster = await startCluster({ masters: 3 });
  try {
    for (let nth = 0; nth < PROCESSES; nth++) children.push(fork(CHILD));
    const all = <T>(make: (nth: number) => T) => children.map((_, nth) => make(nth));
    await Promise.all(all((nth) => ask(children[nth]!, { open: cluster.nodes })));
    // Two begin at the same document, two elsewhere: they meet.
    const from = [0, 0, DOCUMENTS >> 1, DOCUMENTS >> 2];
    const loads = await Promise.all(
      all((nth) => ask(children[nth]!, { fetch: DOCUMENTS, from: from[nth]! })),
    );
    const sum = (loads as number[]).reduce((total, one) => total + one, 0);
    assert.equal(sum, DOCUMENTS, `loads: ${loads.join(", ")}`);
    const again = await Promise.all(
      all((nth) => ask(children[nth]!, { fetch: DOCUMENTS, from: 0 })),
    );
    assert.deepEqual(again, new Array(PROCESSES).fill(0));
    const copies = await Promise.all(all((nth) => ask(children[nth]!, { count: DOCUMENTS })));
    assert.deepEqual(copies, new Array(PROCESSES).fill(DOCUMENTS));
    // Once a write is acknowledged, and the connection with invalidations has answered a PING that
    // was sent after that, no process reads an older value.
    for (let round = 0; round < ROUNDS; round++) {
      const writer = children[round % PROCESSES]!;
      await ask(writer, { set: "shared", value: `round ${round}` });
      const read = await Promise.all(all((nth) => ask(children[nth]!, { read: "shared" })));
      assert.deepEqual(read, new Array(PROCESSES).fill(`round ${round}`));
    }
  } finally {
    await cluster.end();
  }
});
