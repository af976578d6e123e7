// Slots of keys, and what nodes say of the cluster.
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { parseMemoryInfo } from "../../src/remote/node_info.ts";
import { SLOTS, slotOf, tagOfSlot } from "../../src/remote/slots.ts";
import { parseNodes, SlotMap } from "../../src/remote/topology.ts";

const slot = (key: string) => slotOf(Buffer.from(key, "latin1"));

/** A line of CLUSTER NODES. */
function line(id: number, flags: string, epoch: number, ranges: string): string {
  const name = `${id}`.repeat(40);
  return `${name} 127.0.0.1:700${id}@1700${id} ${flags} - 0 0 ${epoch} connected ${ranges}`;
}

test("slots are those of the specification", () => {
  // From the cluster specification, and from a server's CLUSTER KEYSLOT.
  assert.equal(slot("123456789"), 0x31c3);
  assert.equal(slot("foo"), 12182);
  assert.equal(slot("{user1000}.following"), slot("{user1000}.followers"));
  assert.equal(slot("foo{{bar}}zap"), slot("{bar"));
  assert.equal(slot("foo{bar}{zap}"), slot("bar"));
  assert.equal(slot("foo{}{bar}"), 8363);
  for (const wanted of [0, 256, 12182, SLOTS - 1]) {
    assert.equal(slot(`x:{${tagOfSlot(wanted)}}`), wanted);
  }
});

test("the answer to CLUSTER NODES gives nodes, roles and slots", () => {
  const text = [
    line(1, "myself,master", 3, "0-5460 [5461->-222]"),
    line(2, "master,fail", 2, "5461-16382 16383"),
    line(3, "slave", 3, ""),
    line(4, "master,handshake", 0, ""),
    line(5, "noaddr,master", 0, ""),
  ].join("\n");
  const nodes = parseNodes(text, "elsewhere");
  assert.equal(nodes?.length, 3);
  assert.deepEqual(nodes![0]!.ranges, [[0, 5460]]);
  assert.ok(nodes![1]!.hasFailed);
  const map = new SlotMap();
  assert.ok(map.update(nodes!));
  assert.ok(map.isComplete);
  assert.equal(map.ownerOf(16383), "127.0.0.1:7002");
  const own = parseNodes(text.replace("127.0.0.1:7001", ":7001"), "elsewhere");
  assert.equal(own![0]!.address, "elsewhere:7001");
});

test("an owner of a lower epoch is not believed while the newer one is a master", () => {
  const map = new SlotMap();
  const of = (...lines: string[]) => parseNodes(lines.join("\n"), "x")!;
  map.update(of(line(1, "master", 1, "0-16383"), line(2, "slave", 1, "")));
  map.update(of(line(2, "master", 2, "0-16383"), line(1, "master,fail", 1, "")));
  assert.equal(map.ownerOf(7), "127.0.0.1:7002");
  // The first one was paused, and does not know.
  map.update(of(line(1, "myself,master", 1, "0-16383"), line(2, "master", 2, "")));
  assert.equal(map.ownerOf(7), "127.0.0.1:7002");
  // The cluster was made anew.
  map.update(of(line(1, "myself,master", 1, "0-16383"), line(2, "slave", 1, "")));
  assert.equal(map.ownerOf(7), "127.0.0.1:7001");
});

test("no text makes the parsers fail", () => {
  const word = fc.oneof(
    fc.string({ maxLength: 12 }),
    fc.constantFrom("0-5", "9-1", "99999", "master", "127.0.0.1:1@2,h", "slave", "-", "[1->-2]"),
  );
  const words = fc.array(fc.array(word, { maxLength: 14 }), { maxLength: 5 });
  const property = fc.property(words, (lines) => {
    const text = lines.map((one) => one.join(" ")).join("\n");
    for (const { ranges } of parseNodes(text, "h") ?? []) {
      for (const [first, last] of ranges) assert.ok(first <= last && last < SLOTS);
    }
    assert.equal(parseMemoryInfo(Buffer.from(text)), undefined);
  });
  fc.assert(property, { numRuns: 1000 });
});

test("the answer to INFO memory", () => {
  const text = "# Memory\r\nused_memory:1000\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n";
  assert.deepEqual(parseMemoryInfo(Buffer.from(text)), {
    ...{ usedBytes: 1000, limitBytes: 0, policy: "allkeys-lru" },
  });
  assert.equal(parseMemoryInfo(null), undefined);
});
