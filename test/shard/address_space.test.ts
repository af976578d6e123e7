// A process whose address space is limited has room for a few arenas only: each reserves 10 GiB of
// addresses. The error says so.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";

const STORES = new URL("../../src/node/stores.js", import.meta.url);
const SCRIPT = `
  const { createStore } = await import(${JSON.stringify(STORES.href)});
  try {
    createStore({ memoryMax: "64MiB", shards: 16 });
    console.log("created");
  } catch (error) {
    console.log(error.code, error.message);
  }
`;

function runWithin(limitKiB: string): string {
  const command = `ulimit -v ${limitKiB} && exec "$0" --input-type=module -e "$1"`;
  return execFileSync("bash", ["-c", command, process.execPath, SCRIPT], { encoding: "utf8" });
}

test("where the address space is limited, the error says so, and by how much", () => {
  const said = runWithin(String(64 * 1024 * 1024));
  assert.match(
    said,
    /^ERR_ARENA_MEMORY .*limited to 64.0 GiB \(ulimit -v\).*reserves 10.0 GiB of it$/m,
  );
});

test("without a limit, the same store is created", () => {
  assert.equal(runWithin("unlimited"), "created\n");
});
