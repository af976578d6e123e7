// What `npm ci` installs: nothing that is compiled or downloaded by an install script, and nothing
// that npm warns about on the oldest Node that the tools run on.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const ROOT = new URL("../../../", import.meta.url);

interface LockedPackage {
  readonly engines?: { readonly node?: string };
  readonly hasInstallScript?: boolean;
  readonly resolved?: string;
}
interface Manifest {
  readonly allowScripts: Readonly<Record<string, boolean>>;
}

const readJson = (path: string) => JSON.parse(readFileSync(new URL(path, ROOT), "utf8"));
const manifest = readJson("package.json") as Manifest;
const { packages } = readJson("package-lock.json") as {
  readonly packages: Readonly<Record<string, LockedPackage>>;
};
const installed = Object.entries(packages).filter(([path]) => path !== "");
const nameOf = (path: string) => path.slice(path.lastIndexOf("node_modules/") + 13);

/** `require` of a module works from here on. */
const OLDEST: Version = [20, 19, 0];
type Version = readonly [major: number, minor: number, patch: number];

/** Whether a version is in a range such as `^20.19.0 || >= 22` (no prereleases, no hyphens). */
function satisfies(version: Version, range: string): boolean {
  return range.split("||").some((all) => {
    const comparators = all.replaceAll(/([<>=^~]) +/g, "$1").split(/\s+/);
    return comparators.filter((one) => one !== "").every((one) => fits(version, one));
  });
}

function fits(version: Version, comparator: string): boolean {
  const match = /^(\^|~|>=|<=|>|<|=)?v?(\d+|\*|x)(?:\.(\d+|\*|x))?(?:\.(\d+|\*|x))?/.exec(
    comparator,
  );
  assert.ok(match !== null, `no range of versions: ${comparator}`);
  const [, operator = "", ...words] = match;
  const parts = words.filter((word) => /^\d/.test(word ?? "")).map(Number);
  const bound: Version = [parts[0] ?? 0, parts[1] ?? 0, parts[2] ?? 0];
  const order = version.map((part, nth) => part - bound[nth]!).find((diff) => diff !== 0) ?? 0;
  const agree = (count: number) =>
    parts.slice(0, count).every((part, nth) => part === version[nth]);
  if (operator === ">=") return order >= 0;
  if (operator === ">") return order > 0;
  if (operator === "<") return order < 0;
  if (operator === "<=") return order <= 0;
  if (operator === "^") return order >= 0 && agree(1);
  if (operator === "~") return order >= 0 && agree(2);
  return agree(3);
}

test("ranges of versions are read as npm reads them", () => {
  for (const [range, expected] of [
    [">= 20.19.0", true],
    ["^20.19.0 || ^22.13.0 || >=23.5.0", true],
    ["20 || >=22", true],
    [">=14 <21", true],
    ["*", true],
    [">=22", false],
    ["^18.0.0 || ^22", false],
    [">=20.19.1", false],
    ["~20.18", false],
  ] as const) {
    assert.equal(satisfies(OLDEST, range), expected, range);
  }
});

test("no package runs a script when it is installed", () => {
  const scripted = installed.filter(([, { hasInstallScript }]) => hasInstallScript === true);
  const names = [...new Set(scripted.map(([path]) => nameOf(path)))].sort();
  const denied = Object.entries(manifest.allowScripts).filter(([, allowed]) => !allowed);
  // They have their binaries in packages of their own, or beside the script.
  assert.deepEqual(names, denied.map(([name]) => name).sort());
  const compilers = ["node-gyp", "prebuild-install", "sqlite3", "zstd-napi"];
  const found = installed.filter(([path, one]) => {
    return compilers.includes(nameOf(path)) && (one as { name?: string }).name === undefined;
  });
  assert.deepEqual(found, [], "these compile native code, or download it");
});

test("every package runs on the oldest Node", () => {
  const refused = installed.flatMap(([path, { engines }]) => {
    const range = engines?.node ?? "*";
    return satisfies(OLDEST, range) ? [] : [`${path}: ${range}`];
  });
  assert.deepEqual(refused, []);
});

test("the lock file names no registry but npm's", () => {
  const hosts = installed
    .flatMap(([, { resolved }]) => resolved ?? [])
    .map((url) => new URL(url).host);
  assert.deepEqual(
    hosts.filter((host) => host !== "registry.npmjs.org"),
    [],
  );
});
