// Builds if something has changed, then runs tests on Node's test runner, in one of three tiers:
//
//   npm test             every `*.test.ts` that is not long: at most 5 minutes on two processors
//   npm run test:long    every `*.long.test.ts`: terminated threads, killed processes, fuzzers, all
//                        snippets of the documentation, the other projects' suites, tiny
//                        benchmarks: at most 12 minutes
//   npm run test:soak    the tests that a variable of the environment lengthens, at their full
//                        length (SOAK below): hours, and never in CI
//
// Names of files choose files of any tier, other arguments go to the test runner:
// `npm test -- test/memory/slab.test.ts --test-name-pattern slab`.
//
// The files are listed here because Node 20 takes no patterns.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join, relative, resolve, sep } from "node:path";
import { filesBelow, root } from "./build_state.mjs";

/** Which built file a test file becomes; a built one stands for itself. */
function builtFile(path) {
  const fromRoot = relative(root, resolve(path)).split(sep).join("/");
  return /^test\/.*\.test\.ts$/.test(fromRoot)
    ? join("dist", fromRoot.replace(/\.ts$/, ".js"))
    : fromRoot;
}

const isLong = (path) => path.endsWith(".long.test.ts");

/** The variables that lengthen tests, and their values for a soak. */
const SOAK = {
  ZCACHE_FUZZ_CASES: "1000000",
  ZCACHE_KILLS: "1000",
  ZCACHE_MODEL_RUNS: "2000",
  ZCACHE_SIM_STEPS: "1000000",
  ZCACHE_STOPS: "10000",
  ZCACHE_STRESS_ROUNDS: "20",
};

const TIERS = {
  fast: { has: (path) => !isLong(path), env: {} },
  long: { has: isLong, env: {} },
  soak: {
    has: (path) => {
      const source = readFileSync(join(root, path), "utf8");
      return Object.keys(SOAK).some((name) => source.includes(`"${name}"`));
    },
    env: SOAK,
  },
};

/**
 * What the test files of a tier become. Named after the sources, so that a test that is not built
 * fails.
 */
function builtTests(has = () => true) {
  return filesBelow("test")
    .filter((path) => path.endsWith(".test.ts") && has(path))
    .map((path) => join("dist", path.replace(/\.ts$/, ".js")))
    .sort();
}

/** Not more files at once than processors: many of them start workers of their own. */
function concurrencyOption() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  // Older ones take one processor less, and no such option.
  return major === 20 && minor < 10 ? [] : [`--test-concurrency=${availableParallelism()}`];
}

const build = spawnSync(process.execPath, [join(root, "scripts/build.mjs")], { stdio: "inherit" });
if (build.status !== 0) process.exit(build.status ?? 1);
const args = process.argv.slice(2);
const name = args[0]?.startsWith("--tier=") ? args.shift().slice("--tier=".length) : "fast";
const tier = TIERS[name];
if (tier === undefined) {
  console.error(`--tier=${name}: must be one of ${Object.keys(TIERS).join(", ")}`);
  process.exit(2);
}
const chosen = args.filter((arg) => /\.test\.(ts|js)$/.test(arg)).map(builtFile);
const options = args.filter((arg) => !/\.test\.(ts|js)$/.test(arg));
const files = chosen.length > 0 ? chosen : builtTests(tier.has);
const command = ["--test", ...concurrencyOption(), ...options, ...files];
// A daemon of this user may have the usual path of the control socket.
const sockets = mkdtempSync(join(tmpdir(), "zcache-tests-"));
const env = { ...tier.env, ...process.env, XDG_RUNTIME_DIR: sockets };
const { status } = spawnSync(process.execPath, command, { stdio: "inherit", cwd: root, env });
rmSync(sockets, { recursive: true, force: true });
process.exitCode = status ?? 1;
