// Gets beside sets, in two threads of one server: what is read without a lock is always a value that
// was set, whole, and under its own key, however fast the objects move.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Xorshift32 } from "../../src/base/random.ts";
import { Client, portOf, startServer } from "../memcached/server_rig.ts";

const KEYS = 48;
const ROUNDS = Number(process.env["ZCACHE_STRESS_ROUNDS"] ?? 150);
const AT_ONCE = 16;
const SETTERS = 4;
const GETTERS = 8;
const LINE = /VALUE (key\d+) 0 (\d+)\r\n/y;

/** A value that says whose it is, and of which each byte follows from that. */
function valueOf(key: string, serial: number): string {
  const random = new Xorshift32(serial + 1);
  const bytes = 20 + random.below(6000);
  const unit = random.below(3) === 0 ? random.next().toString(36) : `${serial} and again `;
  return `${key}=${serial};`.padEnd(bytes, unit);
}

async function set(client: Client, random: Xorshift32): Promise<void> {
  const sent = Array.from({ length: AT_ONCE }, () => {
    const key = `key${random.below(KEYS)}`;
    const value = valueOf(key, random.below(100_000));
    return `set ${key} 0 0 ${value.length}\r\n${value}\r\n`;
  });
  const reply = await client.ask(`${sent.join("")}mn\r\n`, "MN\r\n");
  assert.equal(reply, `${"STORED\r\n".repeat(AT_ONCE)}MN\r\n`);
}

/** @returns how many values came */
async function get(client: Client, random: Xorshift32): Promise<number> {
  const asked = Array.from({ length: AT_ONCE }, () => `key${random.below(KEYS)}`);
  const lines = asked.map((key) => `get ${key}\r\n`).join("");
  const reply = await client.ask(`${lines}mn\r\n`, "MN\r\n");
  let at = 0;
  let values = 0;
  for (const key of asked) {
    LINE.lastIndex = at;
    const found = LINE.exec(reply);
    if (found !== null) {
      assert.equal(found[1], key, "a value comes under the key that was asked for");
      const end = LINE.lastIndex + Number(found[2]);
      const value = reply.slice(LINE.lastIndex, end);
      const serial = Number(/=(\d+);/.exec(value)?.[1]);
      assert.ok(value === valueOf(key, serial), `${key}: not a value that was set: ${value}`);
      at = end + 2;
      values++;
    }
    assert.equal(reply.slice(at, at + 5), "END\r\n");
    at += 5;
  }
  return values;
}

test(`two threads get and set the same items, ${ROUNDS} rounds`, async (t) => {
  const server = await startServer({ threads: 2, memoryMax: 4 << 20, itemBytesMax: 1 << 16 });
  t.after(() => server.close(false));
  const where = { host: "127.0.0.1", port: portOf(server) };
  const open = () => Client.open(where);
  const setters = await Promise.all(Array.from({ length: SETTERS }, open));
  const getters = await Promise.all(Array.from({ length: GETTERS }, open));
  t.after(() => {
    for (const client of [...setters, ...getters]) client.close();
  });
  let values = 0;
  const run = async (client: Client, seed: number, isSetter: boolean) => {
    const random = new Xorshift32(seed);
    for (let round = 0; round < ROUNDS; round++) {
      if (isSetter) {
        await set(client, random);
        continue;
      }
      const came = await get(client, random);
      values += came;
    }
  };
  await Promise.all([
    ...setters.map((client, nth) => run(client, nth + 1, true)),
    ...getters.map((client, nth) => run(client, nth + 100, false)),
  ]);
  assert.ok(values > (GETTERS * ROUNDS * AT_ONCE) / 2, `only ${values} values came`);
});
