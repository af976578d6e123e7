// Builds everything: the WebAssembly kernels first, because the TypeScript sources embed them, then
// `tsc` over src, test and bench. One tree `dist/` mirrors the sources, so that relative URLs hold.
// It is made anew each time, so that nothing of a deleted source is tested or packed.
import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const packageBin = (name, file) =>
  join(dirname(createRequire(import.meta.url).resolve(`${name}/package.json`)), file);

function buildKernels() {
  const wasm = join(root, "dist", "kernels.wasm");
  mkdirSync(dirname(wasm), { recursive: true });
  const flags = ["-O3", "--converge", "--noAssert", "--runtime", "stub", "--importMemory"];
  const memory = ["--sharedMemory", "--initialMemory", "1", "--maximumMemory", "65535"];
  const features = ["--enable", "simd", "--enable", "bulk-memory", "--enable", "threads"];
  execFileSync(
    process.execPath,
    [
      packageBin("assemblyscript", "bin/asc.js"),
      join(root, "src/wasm/kernels.as.ts"),
      ...flags,
      ...memory,
      ...features,
      "--outFile",
      wasm,
    ],
    { stdio: "inherit", cwd: root },
  );
  const base64 = readFileSync(wasm).toString("base64");
  const lines = base64.match(/.{1,92}/g).map((line) => `  "${line}",`);
  writeFileSync(
    join(root, "src/wasm/kernels.binary.ts"),
    `// Made by scripts/build.mjs from kernels.as.ts; not for editing.\n` +
      `export const KERNELS_BASE64 = [\n${lines.join("\n")}\n].join("");\n`,
  );
}

/** The web page: checked against a browser's library, then bundled into one script. */
async function buildDashboard() {
  const source = join(root, "src/dashboard");
  const target = join(root, "dist/src/dashboard");
  execFileSync(process.execPath, [packageBin("typescript", "bin/tsc"), "-p", source], {
    stdio: "inherit",
  });
  await build({
    entryPoints: [join(source, "main.ts")],
    outfile: join(target, "app.js"),
    bundle: true,
    minify: true,
    format: "iife",
    target: "es2022",
    logLevel: "warning",
    banner: { js: "// zcache's web page; the sources are in src/dashboard." },
  });
  for (const file of ["index.html", "app.css"])
    copyFileSync(join(source, file), join(target, file));
}

rmSync(join(root, "dist"), { recursive: true, force: true });
buildKernels();
execFileSync(process.execPath, [packageBin("typescript", "bin/tsc"), "-p", root], {
  stdio: "inherit",
});
await buildDashboard();
chmodSync(join(root, "dist/src/cli/main.js"), 0o755);
// For scripts/test.mjs: what is older than this file is built.
writeFileSync(join(root, "dist/.built"), "");
