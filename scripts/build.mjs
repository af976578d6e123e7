// `npm run build [-- --force]`: builds everything, unless `dist/` is current.
//
// The WebAssembly kernels come first, because the TypeScript sources embed them, then `tsc` over
// src, test and bench. One tree `dist/` mirrors the sources, so that relative URLs hold. It is made
// anew each time, so that nothing of a deleted source is tested or packed.
//
// npm calls this after `npm ci` and before each `npx zcache` in a clone (`prepare`). So a current
// build is left alone, and a new one is made beside it and takes its place when it is whole: a
// build that fails or is interrupted leaves the last one.
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { alone, fingerprint, isBuilt, root, stamp } from "./build_state.mjs";

const packageBin = (name, file) =>
  join(dirname(createRequire(import.meta.url).resolve(`${name}/package.json`)), file);

function run(packageName, file, args) {
  execFileSync(process.execPath, [packageBin(packageName, file), ...args], {
    stdio: "inherit",
    cwd: root,
  });
}

/** Writes a source that the build makes, in one step, and only if it is another than before. */
function writeMade(path, text) {
  const file = join(root, path);
  if (existsSync(file) && readFileSync(file, "utf8") === text) return;
  const temporary = `${file}.${process.pid}`;
  writeFileSync(temporary, text);
  renameSync(temporary, file);
}

/** Base64 as TypeScript that is joined from lines. */
function base64Source(bytes) {
  const lines = Buffer.from(bytes)
    .toString("base64")
    .match(/.{1,92}/g);
  return `[\n${lines.map((line) => `  "${line}",`).join("\n")}\n].join("")`;
}

function buildKernels(target) {
  const wasm = join(target, "kernels.wasm");
  const flags = ["-O3", "--converge", "--noAssert", "--runtime", "stub", "--importMemory"];
  const memory = ["--sharedMemory", "--initialMemory", "1", "--maximumMemory", "65535"];
  const features = ["--enable", "simd", "--enable", "bulk-memory", "--enable", "threads"];
  const source = join(root, "src/wasm/kernels.as.ts");
  const args = [source, ...flags, ...memory, ...features, "--outFile", wasm];
  run("assemblyscript", "bin/asc.js", args);
  writeMade(
    "src/wasm/kernels.binary.ts",
    `// Made by scripts/build.mjs from kernels.as.ts; not for editing.\n` +
      `export const KERNELS_BASE64 = ${base64Source(readFileSync(wasm))};\n`,
  );
}

/** The web page: checked against a browser's library, then bundled into one script. */
async function buildDashboard(target) {
  const source = join(root, "src/dashboard");
  const page = join(target, "src/dashboard");
  run("typescript", "bin/tsc", ["-p", source]);
  const { build } = await import("esbuild");
  await build({
    entryPoints: [join(source, "main.ts")],
    outfile: join(page, "app.js"),
    bundle: true,
    minify: true,
    format: "iife",
    target: "es2022",
    logLevel: "warning",
    banner: { js: "// zcache's web page; the sources are in src/dashboard." },
  });
  for (const file of ["index.html", "app.css"]) copyFileSync(join(source, file), join(page, file));
}

/**
 * Puts a new build in the place of the last one. Two renames, because no call exchanges folders:
 * signals wait until both are done.
 */
function replaceDist(folder, made) {
  const dist = join(root, "dist");
  const old = join(folder, `old-${process.pid}`);
  const signals = ["SIGHUP", "SIGINT", "SIGTERM"];
  const wait = () => {};
  for (const signal of signals) process.on(signal, wait);
  if (existsSync(dist)) renameSync(dist, old);
  renameSync(made, dist);
  for (const signal of signals) process.off(signal, wait);
  rmSync(old, { recursive: true, force: true });
}

async function buildAll(folder) {
  const print = fingerprint();
  const isForced = process.argv.includes("--force");
  if (!isForced && isBuilt(print)) return; // Another process has built it meanwhile.
  const made = join(folder, `dist-${process.pid}`);
  mkdirSync(made);
  try {
    buildKernels(made);
    const info = join(made, "tsconfig.tsbuildinfo");
    run("typescript", "bin/tsc", ["-p", root, "--outDir", made, "--tsBuildInfoFile", info]);
    await buildDashboard(made);
    chmodSync(join(made, "src/cli/main.js"), 0o755);
    stamp(made, print);
    replaceDist(folder, made);
  } finally {
    rmSync(made, { recursive: true, force: true });
  }
}

if (process.argv.includes("--force") || !isBuilt(fingerprint())) {
  try {
    await alone(buildAll);
  } catch (error) {
    // What a compiler has to say it has said already.
    if (error.status === undefined) throw error;
    process.exitCode = 1;
  }
}
