// Makes sources, `*.binary.ts`, from what is not TypeScript, embedded as text. So the package needs
// no file beside its modules: a bundler finds all of it by imports, and a running process is not
// harmed by a build that replaces its files.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { deflateRawSync } from "node:zlib";
import { root } from "./build_state.mjs";

/** What worker threads run, each with a `.binary.ts` beside it. */
const WORKERS = [
  "src/cache/dictionary_worker.ts",
  "src/cli/analyze_worker.ts",
  "src/memcached/worker.ts",
  "src/monitor/hit_rates_worker.ts",
  "src/monitor/what_if_worker.ts",
  "src/nbd/worker.ts",
  "src/node/maintainer_worker.ts",
];
const ZSTD = "@bokuweb/zstd-wasm";

export function packageFolder(name) {
  return join(root, "node_modules", name);
}

export function runTool(packageName, file, args) {
  execFileSync(process.execPath, [join(packageFolder(packageName), file), ...args], {
    stdio: "inherit",
    cwd: root,
  });
}

/** Writes a source in one step, and only if it is another than before. */
function writeMade(path, from, text) {
  const file = join(root, path);
  const content = `// Made by scripts/embed.mjs from ${from}; not for editing.\n${text}`;
  if (existsSync(file) && readFileSync(file, "utf8") === content) return;
  const temporary = `${file}.${process.pid}`;
  writeFileSync(temporary, content);
  renameSync(temporary, file);
}

function constant(name, bytes) {
  const lines = Buffer.from(bytes)
    .toString("base64")
    .match(/.{1,92}/g);
  const list = lines.map((line) => `  "${line}",`).join("\n");
  return `export const ${name} = [\n${list}\n].join("");\n`;
}

/** The kernels, compiled from AssemblyScript. */
export function embedKernels(target) {
  const wasm = join(target, "kernels.wasm");
  const flags = ["-O3", "--converge", "--noAssert", "--runtime", "stub", "--exportTable"];
  const memory = [
    "--importMemory",
    "--sharedMemory",
    "--initialMemory",
    "1",
    "--maximumMemory",
    "65535",
  ];
  const features = ["--enable", "simd", "--enable", "bulk-memory", "--enable", "threads"];
  const source = join(root, "src/wasm/kernels.as.ts");
  const args = [source, ...flags, ...memory, ...features, "--outFile", wasm];
  runTool("assemblyscript", "bin/asc.js", args);
  const text = constant("KERNELS_BASE64", readFileSync(wasm));
  writeMade("src/wasm/kernels.binary.ts", "kernels.as.ts", text);
}

/**
 * zstd in WebAssembly: the package exports only its slow functions, over one instance for the whole
 * process, so the two files that count are taken.
 */
export async function embedZstd() {
  const { build } = await import("esbuild");
  const folder = join(packageFolder(ZSTD), "dist/common");
  const { outputFiles } = await build({
    entryPoints: [join(folder, "zstd.js")],
    bundle: true,
    minify: true,
    write: false,
    platform: "node",
    format: "iife",
    globalName: "zstd",
    target: "node20",
    logLevel: "error",
  });
  const { version } = JSON.parse(readFileSync(join(packageFolder(ZSTD), "package.json"), "utf8"));
  const wasm = deflateRawSync(readFileSync(join(folder, "zstd.wasm")));
  const text = [
    "// @ts-nocheck\n",
    constant("ZSTD_WASM", wasm),
    `export const ZSTD_VERSION = "${version}";\n`,
    "/** @returns a module of its own for each call, before its initialization */\n",
    "export function createZstdModule(): unknown {\n",
    outputFiles[0].text,
    "return zstd.Module;\n}\n",
  ];
  writeMade("src/node/codecs/zstd_wasm.binary.ts", `${ZSTD} ${version}`, text.join(""));
}

/** Each worker as one script. */
export async function embedWorkers() {
  for (const path of WORKERS) {
    const text = constant("WORKER", deflateRawSync(await bundleWorker(join(root, path))));
    writeMade(path.replace(/\.ts$/, ".binary.ts"), path.slice(path.lastIndexOf("/") + 1), text);
  }
}

/**
 * A worker with all that it imports, as one script. What it would embed that the thread that starts
 * it has too, it gets from that: node/workers.ts defines the constants with `zcache` in
 * their names.
 * @param path of the worker's source, or of what it was compiled to
 */
export async function bundleWorker(path) {
  const { build } = await import("esbuild");
  const { outputFiles, metafile } = await build({
    entryPoints: [path],
    bundle: true,
    write: false,
    metafile: true,
    absWorkingDir: root,
    platform: "node",
    format: "cjs",
    target: "node20",
    minifyWhitespace: true,
    minifySyntax: true,
    legalComments: "none",
    define: { "import.meta.url": "zcacheUrl" },
    plugins: [sharedConstants],
    logLevel: "warning",
  });
  const [{ inputs }] = Object.values(metafile.outputs);
  const started = Object.keys(inputs).filter((input) => {
    return /worker\.binary\.[jt]s$/.test(input) && inputs[input].bytesInOutput > 0;
  });
  if (started.length > 0) throw new Error(`${path}: a worker starts no workers: ${started}`);
  return outputFiles[0].contents;
}

const sharedConstants = {
  name: "shared constants",
  setup({ onLoad }) {
    onLoad({ filter: /zstd_wasm\.binary\.[jt]s$/ }, ({ path }) => ({
      loader: path.endsWith(".ts") ? "ts" : "js",
      contents: readFileSync(path, "utf8").replace(
        /export const ZSTD_WASM = [^;]*;/,
        "export const ZSTD_WASM = zcacheZstdWasm;",
      ),
    }));
    onLoad({ filter: /worker\.binary\.[jt]s$/ }, () => ({ contents: "export const WORKER = '';" }));
  },
};

/** What licenses of embedded packages ask for: their texts go with the package. */
export function writeNotices(target) {
  const licenses = [
    ["chart.js", "LICENSE.md"],
    ["@kurkle/color", "LICENSE.md"],
  ].map(([name, file]) => {
    const { version } = JSON.parse(readFileSync(join(packageFolder(name), "package.json"), "utf8"));
    const text = readFileSync(join(packageFolder(name), file), "utf8").trim();
    return `${name} ${version}\n\n${text}\n`;
  });
  const zstd = readFileSync(join(root, "scripts/zstd_notice.txt"), "utf8");
  const head = "The package contains these programs of others, each under its license.\n";
  const rule = `\n${"-".repeat(78)}\n\n`;
  writeFileSync(join(target, "THIRD_PARTY_NOTICES.txt"), [head, ...licenses, zstd].join(rule));
}
