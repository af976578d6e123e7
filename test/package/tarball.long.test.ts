// The packed tarball, installed in an empty folder: what is in it, its types, `import` and
// `require` of every entry point, and an application that starts every kind of worker.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { EXERCISE, installTarball, ROOT, runtimePackages } from "./installed.ts";

const RUNTIME_PACKAGES_MAX = 8;
const INSTALLED_BYTES_MAX = 14 << 20;
const EXPECTED = {
  dictionary: true,
  name: "user 3050",
  zstd: "@bokuweb/zstd-wasm",
  nbd: "NBDMAGIC",
  memcached: ["STORED\r\n", "VALUE key 0 5\r\nvalue\r\nEND\r\n"],
};

const folder = installTarball();
after(() => rmSync(folder, { recursive: true, force: true }));
const packageFolder = join(folder, "node_modules/zcache");

interface Manifest {
  readonly bin: Readonly<Record<string, string>>;
  readonly exports: Readonly<Record<string, string>>;
}
const manifest = JSON.parse(readFileSync(join(packageFolder, "package.json"), "utf8")) as Manifest;
const entries = Object.keys(manifest.exports)
  .filter((name) => name !== "./package.json")
  .map((name) => `zcache${name.slice(1)}`);

function filesOf(path: string): string[] {
  return readdirSync(path, { recursive: true, encoding: "utf8" })
    .map((name) => join(path, name))
    .filter((file) => statSync(file).isFile());
}

function run(file: string, text: string, ...flags: string[]) {
  writeFileSync(join(folder, file), text);
  const args = [...flags, file];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    cwd: folder,
    encoding: "utf8",
  });
  assert.equal(status, 0, stderr);
  return { stdout, stderr };
}

test("it has no source maps, names none, and has the licenses of embedded code", () => {
  const files = filesOf(packageFolder);
  assert.deepEqual(
    files.filter((file) => file.endsWith(".map")),
    [],
  );
  const mapped = files.filter((file) => {
    return (
      /\.(js|css)$/.test(file) && /^\/[/*]# sourceMappingURL=/m.test(readFileSync(file, "utf8"))
    );
  });
  assert.deepEqual(mapped, []);
  const notices = readFileSync(join(packageFolder, "dist/THIRD_PARTY_NOTICES.txt"), "utf8");
  for (const name of ["chart.js", "@kurkle/color", "Zstandard"]) assert.ok(notices.includes(name));
});

test("few packages come with it, and none of them compiles or downloads anything", () => {
  const packages = runtimePackages();
  assert.ok(packages.length <= RUNTIME_PACKAGES_MAX, packages.join(", "));
  for (const path of packages) {
    const { scripts = {} } = JSON.parse(readFileSync(join(folder, path, "package.json"), "utf8"));
    for (const name of ["preinstall", "install", "postinstall"])
      assert.ok(!(name in scripts), path);
  }
  const bytes = filesOf(join(folder, "node_modules")).reduce((sum, f) => sum + statSync(f).size, 0);
  assert.ok(bytes <= INSTALLED_BYTES_MAX, `${bytes} bytes`);
});

test("every entry point can be imported and required", (t) => {
  const imports = entries.map((name) => `await import("${name}")`).join(", ");
  const names = "console.log(JSON.stringify(all.map((one) => Object.keys(one).length > 0)))";
  const all = JSON.stringify(entries.map(() => true));
  assert.equal(run("imports.mjs", `const all = [${imports}];\n${names}`).stdout.trim(), all);
  const [major, minor] = process.versions.node.split(".").map(Number) as [number, number];
  if (major === 20 && minor < 19) return t.skip("this Node can't require modules");
  const requires = entries.map((name) => `require("${name}")`).join(", ");
  assert.equal(run("requires.cjs", `const all = [${requires}];\n${names}`).stdout.trim(), all);
});

for (const options of [
  { module: "nodenext", target: "es2022" },
  { module: "esnext", moduleResolution: "bundler", target: "es2022" },
]) {
  test(`its types need nothing undeclared: ${options.moduleResolution ?? options.module}`, () => {
    const imports = entries.map((name, nth) => `import * as e${nth} from "${name}";`);
    const uses = `export const all = [${entries.map((_, nth) => `e${nth}`).join(", ")}];`;
    writeFileSync(join(folder, "application.mts"), `${imports.join("\n")}\n${uses}\n`);
    const compilerOptions = { ...options, strict: true, noEmit: true, skipLibCheck: false };
    const config = { compilerOptions, files: ["application.mts"] };
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config));
    const tsc = join(ROOT, "node_modules/typescript/bin/tsc");
    const { status, stdout } = spawnSync(process.execPath, [tsc, "-p", folder], {
      encoding: "utf8",
    });
    assert.equal(status, 0, stdout);
  });
}

test("the command runs", () => {
  const main = join(packageFolder, manifest.bin["zcache"]!);
  const args = [main, "pools", "--json"];
  assert.match(execFileSync(process.execPath, args, { encoding: "utf8" }), /zsmalloc/);
});

test("an application starts every kind of worker", () => {
  cpSync(EXERCISE, join(folder, "exercise.mjs"));
  const { stdout } = run("exercise.mjs", readFileSync(EXERCISE, "utf8"));
  const result = JSON.parse(stdout) as typeof EXPECTED;
  assert.deepEqual({ ...result, zstd: result.zstd.split(" ")[0] }, EXPECTED);
});

test("an application goes on if its package is replaced: no file is loaded later", () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, ["exercise.mjs"], {
    cwd: folder,
    encoding: "utf8",
    env: { ...process.env, PACKAGE_FOLDER: packageFolder },
  });
  assert.equal(status, 0, stderr);
  const result = JSON.parse(stdout) as typeof EXPECTED;
  assert.deepEqual({ ...result, zstd: result.zstd.split(" ")[0] }, EXPECTED);
});
