// Turns: how much work a connection may do before others have their turn, and in which order.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Session } from "../../src/memcached/session.ts";
import { Turns } from "../../src/memcached/turns.ts";
import { InternalErrors } from "../../src/node/internal_errors.ts";
import { type EngineFixture, SHARDS, TextFixture } from "./fixture.ts";

const MUCH = 1_000_000;

/** Waits until nothing is scheduled. */
async function rounds(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}

describe("turns", () => {
  test("connections with few requests come before those that always have more", async () => {
    const order: string[] = [];
    const turns: Turns<string> = new Turns<string>((name) => {
      order.push(name);
      turns.spend(name.startsWith("busy") ? MUCH : 1);
      if (name.startsWith("busy") && order.length < 200) turns.add(name, true);
    }, new InternalErrors());
    for (let i = 0; i < 50; i++) turns.add(`busy ${i}`, true);
    await rounds(1);
    const before = order.length;
    turns.add("fresh", false);
    await rounds(2);
    assert.ok(order.indexOf("fresh") <= before + 1, order.join());
  });

  test("many new connections leave a turn in each round to a busy connection", async () => {
    let busy = 0;
    let fresh = 0;
    const turns: Turns<string> = new Turns<string>((name) => {
      turns.spend(MUCH);
      if (name === "busy") busy++;
      else fresh++;
      if (busy + fresh < 40) turns.add(name, name === "busy");
    }, new InternalErrors());
    turns.add("busy", true);
    for (let i = 0; i < 20; i++) turns.add("fresh", false);
    await rounds(60);
    assert.ok(busy >= 15, `${busy} of ${busy + fresh}`);
    assert.ok(fresh >= 15, `${fresh} of ${busy + fresh}`);
  });

  test("a round ends when its budget is used up; every connection gets a turn", async () => {
    let taken = 0;
    const turns: Turns<number> = new Turns<number>(() => {
      taken++;
      turns.spend(100_000);
    }, new InternalErrors());
    for (let i = 0; i < 5000; i++) turns.add(i, i % 2 === 0);
    await rounds(1);
    assert.ok(taken > 0 && taken < 20, `${taken} in a round`);
    await rounds(2000);
    assert.equal(taken, 5000);
    assert.ok(turns.isOpen);
  });

  test("an error in a turn is reported, and other connections get their turns", async () => {
    const log: string[] = [];
    const done: number[] = [];
    const errors = new InternalErrors({ log: (text) => log.push(text) });
    const turns = new Turns<number>((one) => {
      if (one === 3) throw new Error("planted");
      done.push(one);
    }, errors);
    for (let i = 0; i < 8; i++) turns.add(i, false);
    await rounds(5);
    assert.deepEqual(done, [0, 1, 2, 4, 5, 6, 7]);
    assert.equal(errors.count, 1);
  });
});

for (const shards of SHARDS)
  describe(`a connection's turn, ${shards} shard(s)`, () => {
    function filled(items: number): TextFixture {
      const fixture = new TextFixture({ shards });
      let text = "";
      for (let i = 0; i < items; i++) text += `set key${i} 0 0 5 noreply\r\nvalue\r\n`;
      assert.equal(fixture.ask(text), "");
      fixture.turns = 0;
      return fixture;
    }

    /** Bytes of replies in one turn, and whether more will follow. */
    function oneTurn(fixture: EngineFixture, session: Session, text: string): number {
      fixture.items.tick(fixture.nowS * 1000);
      fixture.engine.begin();
      fixture.receiveBuffer.receivedCopy(session, Buffer.from(text));
      return fixture.take().length;
    }

    test("is short for commands that list all items; the replies are complete", () => {
      const fixture = filled(3000);
      for (let i = 0; i < 3000; i++)
        fixture.engine.parts.stats.prefixSet(Buffer.from(`p${i}:`), 0, 6);
      const cases: readonly (readonly [string, number, string])[] = [
        ["lru_crawler metadump all\r\n", 3000, "END\r\n"],
        ["lru_crawler metadump hash\r\n", 3000, "END\r\n"],
        ["lru_crawler mgdump all\r\n", 3000, "EN\r\n"],
        ["stats cachedump 1 0\r\n", 1000, "END\r\n"],
        ["stats detail dump\r\n", 3000, "END\r\n"],
        ["lru_crawler crawl all\r\n", 0, "OK\r\n"],
      ];
      for (const [text, lines, end] of cases) {
        const part = oneTurn(fixture, new Session(), text);
        assert.ok(fixture.engine.paused, text);
        assert.ok(part < 64 * 1024, `${text}: ${part} bytes in a turn`);
        fixture.turns = 0;
        const whole = fixture.send(new Session(), text).toString();
        assert.equal(whole.split("\n").length - 2, lines, text);
        assert.ok(whole.endsWith(end));
        assert.ok(fixture.turns > 0, text);
      }
    });

    test("is short for many commands that read or change long values", () => {
      const fixture = filled(10);
      const long = "v".repeat(300_000);
      fixture.ask(`set long 0 0 ${long.length}\r\n${long}\r\n`);
      for (const text of [
        "append long 0 0 1\r\nx\r\n",
        "get long\r\n",
        "incr none 1\r\n",
        "stats\r\n",
      ]) {
        const [before] = [fixture.items.counters.sum("cmd_set")];
        oneTurn(fixture, new Session(), text.repeat(2000));
        assert.ok(fixture.engine.paused, text);
        assert.ok(fixture.items.counters.sum("cmd_set") - before <= 1, text);
      }
    });

    test("requests that wait for a turn are executed in order, and once", () => {
      const fixture = filled(0);
      const session = new Session();
      const count = 5000;
      const out = fixture
        .send(session, `set n 0 0 1\r\n0\r\n${"incr n 1\r\n".repeat(count)}get n\r\n`)
        .toString();
      const lines = Array.from({ length: count }, (_, i) => `${i + 1}\r\n`).join("");
      assert.equal(out, `STORED\r\n${lines}VALUE n 0 4\r\n5000\r\nEND\r\n`);
      assert.ok(fixture.turns > 3);
      assert.equal(fixture.receiveBuffer.pendingBytes, 0);
    });

    test("each of a hundred simultaneous lists has all items", () => {
      const fixture = filled(2000);
      const sessions = Array.from({ length: 100 }, () => new Session());
      const outs = sessions.map(() => "");
      for (const [nth, session] of sessions.entries()) {
        fixture.items.tick(fixture.nowS * 1000);
        fixture.engine.begin();
        fixture.receiveBuffer.receivedCopy(session, Buffer.from("lru_crawler metadump all\r\n"));
        outs[nth] += fixture.take().toString();
      }
      while (sessions.some(({ longReply }) => longReply !== undefined)) {
        for (const [nth, session] of sessions.entries()) {
          fixture.engine.begin();
          fixture.receiveBuffer.resume(session);
          outs[nth] += fixture.take().toString();
        }
      }
      for (const out of outs) {
        assert.equal(new Set(out.match(/^key=\S+/gm)).size, 2000);
        assert.equal(out.match(/^END/gm)!.length, 1);
      }
    });
  });
