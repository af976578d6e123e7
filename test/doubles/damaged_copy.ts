// A copy of the built program in which some functions throw and some workers can't start. Workers
// are scripts that the build embeds: they are bundled again from the copy's modules.
import assert from "node:assert/strict";
import {
  copyFileSync,
  cpSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { deflateRawSync } from "node:zlib";
import { temporaryFolder } from "./temporary_folder.ts";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));

/** Text in a built file, such as the head of a method, and the text to insert after it. */
export type Damage = readonly [file: string, behind: string, code: string];

interface Embedding {
  bundleWorker(path: string): Promise<Uint8Array>;
}

/**
 * @param missing workers that can't be loaded, as the modules that they are bundled from
 * @returns the path of the copy's program
 */
export async function damagedCopy(
  damages: readonly Damage[],
  missing: readonly string[] = [],
): Promise<string> {
  const folder = temporaryFolder("damaged");
  const src = join(folder, "dist/src");
  cpSync(join(ROOT, "dist/src"), src, { recursive: true });
  copyFileSync(join(ROOT, "package.json"), join(folder, "package.json"));
  symlinkSync(join(ROOT, "node_modules"), join(folder, "node_modules"));
  for (const [file, behind, code] of damages) {
    const path = join(src, file);
    const text = readFileSync(path, "utf8");
    assert.equal(text.split(behind).length, 2, `${file} has "${behind}" once`);
    writeFileSync(
      path,
      text.replace(behind, () => `${behind}\n${code}\n`),
    );
  }
  await embedAgain(src, missing);
  return join(src, "cli/main.js");
}

async function embedAgain(src: string, missing: readonly string[]): Promise<void> {
  const url = pathToFileURL(join(ROOT, "scripts/embed.mjs")).href;
  const { bundleWorker } = (await import(url)) as Embedding;
  const files = readdirSync(src, { recursive: true, encoding: "utf8" });
  const workers = files
    .filter((name) => name.endsWith("worker.binary.js"))
    .map((name) => name.replace(/\.binary\.js$/, ".js"));
  for (const name of missing) assert.ok(workers.includes(name), `${name} is an embedded worker`);
  for (const name of workers) {
    const path = join(src, name);
    const error = JSON.stringify(`Cannot find module ${path}`);
    const script = missing.includes(name) ? `throw new Error(${error});` : await bundleWorker(path);
    const packed = deflateRawSync(script).toString("base64");
    writeFileSync(path.replace(/\.js$/, ".binary.js"), `export const WORKER = "${packed}";\n`);
  }
}
