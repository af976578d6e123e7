// The same requests sent to this server and to memcached: the replies are equal byte for byte. A
// few hundred sequences; `npm run bench -- memcached-differential` runs ten thousand.
import assert from "node:assert/strict";
import { test } from "node:test";
import { benchDifferential } from "../../bench/memcached/differential.ts";
import { without } from "../../bench/programs.ts";

const skip = without("memcached");

test("sequences of requests get the same answers as from memcached", { skip }, async () => {
  const lines: string[] = [];
  const print = (line: string) => lines.push(line);
  const result = await benchDifferential({ sequences: 300, seed: 20_000, print });
  assert.equal(result!.sequences, 300);
  assert.equal(result!.differences.length, 0, lines.join("\n"));
});
