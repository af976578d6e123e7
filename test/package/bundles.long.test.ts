// Bundles of an application that starts every kind of worker, made by esbuild, Vite (SSR) and
// webpack without any setting for the package, and run in a folder without `node_modules`.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { pathToFileURL } from "node:url";
import * as esbuild from "esbuild";
import { EXERCISE, installTarball, ROOT } from "./installed.ts";

const EXPECTED = {
  dictionary: true,
  name: "user 3050",
  zstd: "@bokuweb/zstd-wasm",
  nbd: "NBDMAGIC",
  memcached: ["STORED\r\n", "VALUE key 0 5\r\nvalue\r\nEND\r\n"],
};

const application = installTarball();
const entry = join(application, "exercise.mjs");
cpSync(EXERCISE, entry);
/** Bundles run here: no package is found from here. */
const bare = mkdtempSync(join(tmpdir(), "zcache-bundle-"));
after(() => {
  for (const folder of [application, bare]) rmSync(folder, { recursive: true, force: true });
});

function runBundle(file: string): void {
  // Some bundlers write the paths of sources into a bundle.
  const away = `${application}-away`;
  renameSync(application, away);
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(bare, file)], {
    cwd: bare,
    encoding: "utf8",
  });
  renameSync(away, application);
  assert.equal(status, 0, stderr);
  const result = JSON.parse(stdout) as typeof EXPECTED;
  assert.deepEqual({ ...result, zstd: result.zstd.split(" ")[0] }, EXPECTED);
}

for (const [format, extension] of [
  ["esm", "mjs"],
  ["cjs", "cjs"],
] as const) {
  test(`esbuild, ${format}`, async () => {
    const outfile = join(bare, `esbuild.${extension}`);
    await esbuild.build({
      ...{ entryPoints: [entry], bundle: true, platform: "node", format, outfile },
      logLevel: "error",
    });
    runBundle(`esbuild.${extension}`);
  });
}

interface Vite {
  build(options: object): Promise<unknown>;
}

test("Vite for a server", async () => {
  // It comes with vitest.
  const require = createRequire(createRequire(import.meta.url).resolve("vitest/package.json"));
  const { pathname } = pathToFileURL(require.resolve("vite"));
  const { build } = (await import(pathname)) as Vite;
  await build({
    ...{ root: application, configFile: false, logLevel: "error" },
    ssr: { noExternal: true },
    build: { ssr: entry, outDir: join(bare, "vite"), emptyOutDir: true, minify: true },
  });
  const file = ["exercise.js", "exercise.mjs"].find((name) => existsSync(join(bare, "vite", name)));
  runBundle(join("vite", file!));
});

interface WebpackStats {
  hasErrors(): boolean;
  toString(options: string): string;
}
type Webpack = (
  options: object,
  done: (error: Error | null, stats: WebpackStats | undefined) => void,
) => void;

/** Installed by scripts/install-peers.sh, because `npm ci` would take it in each time. */
const WEBPACK = join(ROOT, "build/webpack/node_modules/webpack");

test("webpack", async (t) => {
  if (!existsSync(WEBPACK) && process.env["CI"] !== "true") {
    return t.skip("webpack is not installed: CI=true scripts/install-peers.sh does that");
  }
  const webpack = createRequire(import.meta.url)(WEBPACK) as Webpack;
  const stats = await new Promise<WebpackStats>((resolve, reject) => {
    const options = {
      ...{ context: application, entry, mode: "production", target: "node20" },
      output: { path: join(bare, "webpack"), filename: "exercise.cjs" },
    };
    webpack(options, (error, result) => (error === null ? resolve(result!) : reject(error)));
  });
  assert.equal(stats.hasErrors(), false, stats.toString("errors-only"));
  mkdirSync(join(bare, "webpack"), { recursive: true });
  runBundle("webpack/exercise.cjs");
});
