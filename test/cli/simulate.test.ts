// `zcache simulate` as a program: traces in all formats, plain and compressed, and errors.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import * as zlib from "node:zlib";
import type { SimulationReport } from "../../src/lab/simulate/report.ts";
import { temporaryFolder } from "../doubles/temporary_folder.ts";

const EXTENSION = import.meta.url.endsWith(".ts") ? "ts" : "js";
const MAIN = fileURLToPath(new URL(`../../src/cli/main.${EXTENSION}`, import.meta.url));
const FOLDER = temporaryFolder("simulate");
const at = (name: string) => join(FOLDER, name);

function simulate(...args: string[]) {
  return spawnSync(process.execPath, [MAIN, "simulate", ...args], { encoding: "utf8" });
}

function hasPackage(name: string): boolean {
  try {
    createRequire(import.meta.url).resolve(name);
    return true;
  } catch {
    return false;
  }
}

function report(...args: string[]): SimulationReport {
  const { status, stdout, stderr } = simulate("--json", ...args);
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout) as SimulationReport;
}

const lines = Array.from({ length: 3000 }, (_, n) => `${n} user:${(n * n) % 97} ${500 + (n % 97)}`);
writeFileSync(at("trace"), `time key size\n${lines.join("\n")}\n`);
writeFileSync(at("trace.csv"), `${lines.join("\n").replaceAll(" ", ",")}\n`);
writeFileSync(at("trace.gz"), zlib.gzipSync(readFileSync(at("trace"))));
writeFileSync(at("broken.gz"), zlib.gzipSync(readFileSync(at("trace"))).subarray(0, 200));
writeFileSync(at("wrong"), "1 a 5\n2 b\n3 c five\n");

test("a trace as text, as CSV and compressed gives the same result", () => {
  const plain = report(at("trace"), "--memory", "64K");
  assert.equal(plain.requests, lines.length);
  assert.ok(plain.results.length >= 8);
  for (const { hits, requests, hit_rate, memory_bytes } of plain.results) {
    assert.equal(memory_bytes, 65_536);
    assert.ok(hits > 0 && Math.abs(hit_rate - hits / requests) < 1e-9);
  }
  for (const name of ["trace.csv", "trace.gz"]) {
    assert.deepEqual(report(at(name), "--memory", "64K").results, plain.results, name);
  }
});

test("a trace compressed by zstd is read", async (t) => {
  const zstd = spawnSync("zstd", ["-q", "-f", at("trace"), "-o", at("trace.zst")]);
  if (zstd.status !== 0 && process.env["CI"] !== "true") return t.skip("zstd is not installed");
  const isNative = "createZstdDecompress" in zlib || hasPackage("zstd-napi");
  if (!isNative && process.env["CI"] !== "true") {
    return t.skip("this Node has no zstd, and zstd-napi is not installed");
  }
  const packed = report(at("trace.zst"), "--memory", "64K", "--policies", "lru");
  assert.equal(packed.requests, lines.length);
});

test("several memory limits give a table and a page with charts", () => {
  const args = ["--zipf", "0.9", "--keys", "500", "--requests", "5000", "--sizes", "100-2K"];
  const page = at("page.html");
  const { status, stdout, stderr } = simulate(
    ...args,
    ...["--memory", "64K,128K", "--policies", "lru,tinylfu,belady", "--html", page],
  );
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^zipf 0\.9 over 500 keys: 5,000 requests\.$/m);
  for (const memory of ["64.0 KiB", "128 KiB"])
    assert.match(stdout, new RegExp(`^Memory ${memory}$`, "m"));
  assert.equal(stdout.match(/^(lru|tinylfu|belady) +\d+\.\d\d %/gm)?.length, 6, stdout);
  const html = readFileSync(page, "utf8");
  assert.match(html, /<title>zcache simulate: zipf 0\.9/);
  assert.equal(html.match(/<canvas /g)?.length, 2);
  assert.equal(html.match(/<table>/g)?.length, 2);
});

test("a synthetic trace depends on its seed alone, not on the policies", () => {
  const args = ["--shape", "shift", "--keys", "300", "--requests", "3000", "--memory", "64K"];
  const both = report(...args, "--policies", "lru,sieve");
  const one = report(...args, "--policies", "sieve");
  assert.deepEqual(one.results[0], both.results[1]);
  assert.notDeepEqual(report(...args, "--policies", "sieve", "--seed", "2").results, one.results);
});

test("an invalid command line exits with 2, an invalid trace with 1", () => {
  const usage: readonly (readonly [args: readonly string[], message: RegExp])[] = [
    [[], /give either trace files, or --zipf or --shape/],
    [[at("trace"), "--zipf", "1"], /give either trace files/],
    [["--zipf", "one"], /--zipf: "one" .* a number from 0 to 10/],
    [["--shape", "square"], /--shape: "square" .* one of zipf, scan, loop, shift/],
    [["--zipf", "1", "--sizes", "9-3"], /--sizes: "9-3" .* MIN-MAX/],
    [["--zipf", "1", "--memory", "1K"], /--memory: 1K is not allowed; write at least 64K/],
    [["--zipf", "1", "--policies", "mru"], /no policy is called "mru"; available: s3-fifo, /],
    [["--zipf", "1", "--ratio", "0.5"], /--ratio: "0.5" .* from 1 to 1000/],
    [["--zipf", "1", "--keys", "0"], /--keys: "0" .* from 1/],
  ];
  for (const [args, message] of usage) {
    const { status, stderr } = simulate(...args);
    assert.equal(status, 2, `${args.join(" ")}: ${stderr}`);
    assert.match(stderr, message);
    assert.equal(stderr.trim().split("\n").length, 1, stderr);
  }
  const failures: readonly (readonly [args: readonly string[], message: RegExp])[] = [
    [[at("none")], /can't read .*none: no such file/],
    [[at("wrong")], /wrong: line 2: "2 b" is not a request; a line must be TIME KEY SIZE/],
    [[at("broken.gz")], /can't read .*broken\.gz: /],
    [
      [at("trace"), "--warmup", "9999"],
      /nothing was measured: all 3000 requests are within --warmup 9999/,
    ],
  ];
  for (const [args, message] of failures) {
    const { status, stderr } = simulate(...args);
    assert.equal(status, 1, `${args.join(" ")}: ${stderr}`);
    assert.match(stderr, message);
  }
  assert.ok(!existsSync(at("page")));
});
