// What docs/cache.md shows is run: each block of JavaScript as a program of its own, as it stands.
//
// Only where a program imports this package it gets the built files: by the package's name, if the
// entry is exported, it would be the same ones.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";

const HERE = dirname(fileURLToPath(import.meta.url));
const SOURCES = pathToFileURL(join(HERE, "../../src/")).href;
const PAGE = readFileSync(join(HERE, "../../../docs/cache.md"), "utf8");
const LIMIT_MS = 300_000;
/** What console.assert writes, and nothing else that a program says. */
const FAILED = /Assertion failed/;

const blocks = [...PAGE.matchAll(/^```js\n([\s\S]*?)^```$/gm)].map((match) => match[1]!);

function fileOf(entry: string | undefined): string {
  return `${SOURCES}${entry === undefined ? "index" : entry.replaceAll("-", "_")}.js`;
}

test("the page has programs", () => {
  assert.ok(blocks.length >= 6, `${blocks.length}`);
});

for (const [nth, block] of blocks.entries()) {
  test(`program ${nth + 1} of docs/cache.md`, { timeout: LIMIT_MS }, async (t) => {
    // Below the built tests, so that installed packages are found.
    const folder = mkdtempSync(join(HERE, "snippet-"));
    t.after(() => rmSync(folder, { recursive: true }));
    const program = join(folder, "program.mjs");
    const imports = /from "zcache(?:\/([a-z-]+))?"/g;
    writeFileSync(
      program,
      block.replace(imports, (_, entry) => `from "${fileOf(entry)}"`),
    );
    const env = { ...process.env, NODE_TEST_CONTEXT: "" };
    // What a program leaves behind goes with its folder.
    const options = { cwd: folder, env, timeout: LIMIT_MS };
    const { stderr } = await promisify(execFile)(process.execPath, [program], options);
    assert.doesNotMatch(stderr, FAILED);
  });
}
