// The same requests sent to this server and to memcached: the replies are equal byte for byte. A
// few hundred sequences; `npm run bench -- memcached-differential` runs ten thousand.
import assert from "node:assert/strict";
import { test } from "node:test";
import { benchDifferential } from "../../bench/memcached/differential.ts";
import { without } from "../../bench/programs.ts";

const skip = without("memcached");

for (const [shards, sequences] of [
  [1, 300],
  [3, 150],
] as const) {
  test(`requests get the same replies as from memcached, ${shards} shard(s)`, {
    skip,
  }, async () => {
    const lines: string[] = [];
    const print = (line: string) => lines.push(line);
    const result = await benchDifferential({ sequences, shards, seed: 20_000, print });
    assert.equal(result!.sequences, sequences);
    assert.equal(result!.differences.length, 0, lines.join("\n"));
  });
}
