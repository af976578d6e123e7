// `npm run build [-- --force]`: builds everything, unless `dist/` is current.
//
// What the sources embed comes first (embed.mjs), then `tsc` over src, test and bench. One tree
// `dist/` mirrors the sources, so that relative URLs hold. It is made anew each time, so that
// nothing of a deleted source is tested or packed.
//
// npm calls this after `npm ci` and before each `npx zcache` in a clone (`prepare`). So a current
// build is left alone, and a new one is made beside it and takes its place when it is whole: a
// build that fails or is interrupted leaves the last one.
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
import { join } from "node:path";
import { alone, fingerprint, isBuilt, root, stamp } from "./build_state.mjs";
import {
  embedKernels,
  embedWorkers,
  embedZstd,
  packageFolder,
  runTool,
  writeNotices,
} from "./embed.mjs";

/** The web page: checked against a browser's library, then bundled into one script. */
async function buildDashboard(target) {
  const source = join(root, "src/dashboard");
  const page = join(target, "src/dashboard");
  runTool("typescript", "bin/tsc", ["-p", source]);
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
  const chart = readFileSync(join(packageFolder("chart.js"), "dist/chart.umd.min.js"), "utf8");
  // A map is not there to be found.
  writeFileSync(join(page, "chart.js"), chart.replace(/^\/\/# sourceMappingURL=.*$/m, ""));
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
    embedKernels(made);
    await embedZstd();
    await embedWorkers();
    const info = join(made, "tsconfig.tsbuildinfo");
    runTool("typescript", "bin/tsc", ["-p", root, "--outDir", made, "--tsBuildInfoFile", info]);
    await buildDashboard(made);
    writeNotices(made);
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
