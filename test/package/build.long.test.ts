// The build, in a copy of the sources: it does nothing when it is current, and it replaces the last
// build in one step, so that whatever ends it early leaves that as it was.
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const COPY = mkdtempSync(join(tmpdir(), "zcache-build-"));
const WATCHDOG_MS = 300_000;
after(() => rmSync(COPY, { recursive: true }));

for (const name of ["package.json", "package-lock.json", "scripts", "src", "tsconfig.json"]) {
  cpSync(join(ROOT, name), join(COPY, name), { recursive: true });
}
symlinkSync(join(ROOT, "node_modules"), join(COPY, "node_modules"));

function startBuild(): ChildProcess {
  return spawn(process.execPath, [join(COPY, "scripts/build.mjs")], { stdio: "ignore", cwd: COPY });
}

async function build(): Promise<number | null> {
  const [code] = await once(startBuild(), "exit");
  return code as number | null;
}

/** Names, sizes and identities of all files of the build. */
function snapshot(): string[] {
  const names = readdirSync(join(COPY, "dist"), { recursive: true, encoding: "utf8" });
  return names.sort().map((name) => {
    const { ino, size, mtimeMs } = statSync(join(COPY, "dist", name));
    return `${name} ${ino} ${size} ${mtimeMs}`;
  });
}

function runCli(): string {
  const main = join(COPY, "dist/src/cli/main.js");
  return execFileSync(process.execPath, [main, "pools"], { encoding: "utf8" });
}

const INDEX = join(COPY, "src/index.ts");

test("a build that is current is left alone; a changed or a deleted source is not", async () => {
  writeFileSync(join(COPY, "src/extra.ts"), "export const EXTRA = 1;\n");
  assert.equal(await build(), 0);
  assert.match(runCli(), /zsmalloc/);
  assert.ok(existsSync(join(COPY, "dist/src/extra.js")));
  const first = snapshot();
  // As a copy or a checkout does: other times, the same contents.
  writeFileSync(INDEX, readFileSync(INDEX));
  assert.equal(await build(), 0);
  assert.deepEqual(snapshot(), first);
  rmSync(join(COPY, "src/extra.ts"));
  assert.equal(await build(), 0);
  assert.equal(existsSync(join(COPY, "dist/src/extra.js")), false);
  assert.deepEqual(readdirSync(join(COPY, "build")), []);
});

test("a build that fails or is killed leaves the last one", { timeout: WATCHDOG_MS }, async () => {
  const before = snapshot();
  const source = readFileSync(INDEX);
  appendFileSync(INDEX, "export const BROKEN: number = true;\n");
  assert.notEqual(await build(), 0);
  assert.deepEqual(snapshot(), before);
  writeFileSync(INDEX, source);
  appendFileSync(INDEX, "export const ADDED = 1;\n");
  for (const [signal, made] of [
    ["SIGKILL", "kernels.wasm"],
    ["SIGTERM", "src/index.js"],
    ["SIGINT", "src/dashboard/app.js"],
  ] as const) {
    const child = startBuild();
    const exited = once(child, "exit");
    const begun = join(COPY, "build", `dist-${child.pid}`, made);
    while (!existsSync(begun) && child.exitCode === null) await sleep(1);
    child.kill(signal);
    await exited;
    assert.match(runCli(), /zsmalloc/);
    // The last signal may come when the new build is in its place already.
    if (made !== "src/dashboard/app.js") assert.deepEqual(snapshot(), before);
  }
  assert.equal(await build(), 0);
  const { ADDED } = (await import(join(COPY, "dist/src/index.js"))) as { ADDED: number };
  assert.equal(ADDED, 1);
  assert.deepEqual(readdirSync(join(COPY, "build")), [], "nothing is left of the killed ones");
});

test("two builds at once make one", async () => {
  appendFileSync(INDEX, "export const TWICE = 1;\n");
  const codes = await Promise.all([build(), build()]);
  assert.deepEqual(codes, [0, 0]);
  assert.match(readFileSync(join(COPY, "dist/src/index.js"), "utf8"), /TWICE/);
  assert.deepEqual(readdirSync(join(COPY, "build")), []);
});
