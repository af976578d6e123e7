// `npm test`: builds, then runs every test file that was built. Arguments are passed on to Node's
// test runner: `npm test -- --test-name-pattern slab`; names of built or source files choose files:
// `npm test -- test/memory/slab.test.ts`.
//
// The files are listed here because Node 20 takes no patterns.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join, relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

/** All files below a folder, as paths from the root. */
function filesBelow(folder) {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? filesBelow(path) : [path];
  });
}

/** Which built file a test file becomes; a built one stands for itself. */
function builtFile(path) {
  const fromRoot = relative(root, resolve(path)).split(sep).join("/");
  return /^test\/.*\.test\.ts$/.test(fromRoot)
    ? join("dist", fromRoot.replace(/\.ts$/, ".js"))
    : fromRoot;
}

/**
 * What every test file becomes. Named after the sources, so that a test that is not built fails.
 */
function builtTests() {
  return filesBelow("test")
    .filter((path) => path.endsWith(".test.ts"))
    .map((path) => join("dist", path.replace(/\.ts$/, ".js")))
    .sort();
}

/** Whether the last build succeeded and nothing has changed since. */
function isBuilt() {
  const stamp = join(root, "dist/.built");
  if (!existsSync(stamp)) return false;
  const builtAt = statSync(stamp).mtimeMs;
  const sources = ["src", "test", "bench", "scripts"].flatMap((folder) =>
    existsSync(join(root, folder)) ? filesBelow(folder) : [],
  );
  const inputs = [...sources, "tsconfig.json", "package-lock.json"];
  return (
    builtTests().every((path) => existsSync(join(root, path))) &&
    inputs.every((path) => statSync(join(root, path)).mtimeMs <= builtAt)
  );
}

/** Not more files at once than processors: many of them start workers of their own. */
function concurrencyOption() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  // Older ones take one processor less, and no such option.
  return major === 20 && minor < 10 ? [] : [`--test-concurrency=${availableParallelism()}`];
}

if (!isBuilt()) {
  const build = spawnSync(process.execPath, [join(root, "scripts/build.mjs")], {
    stdio: "inherit",
  });
  if (build.status !== 0) process.exit(build.status ?? 1);
}
const args = process.argv.slice(2);
const chosen = args.filter((arg) => /\.test\.(ts|js)$/.test(arg)).map(builtFile);
const options = args.filter((arg) => !/\.test\.(ts|js)$/.test(arg));
const files = chosen.length > 0 ? chosen : builtTests();
const command = ["--test", ...concurrencyOption(), ...options, ...files];
const { status } = spawnSync(process.execPath, command, { stdio: "inherit", cwd: root });
process.exitCode = status ?? 1;
