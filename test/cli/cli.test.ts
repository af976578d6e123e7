// The command line as users see it: the built program as a process, with valid and invalid input,
// checked by exit code, stderr and output.
import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { Report } from "../../src/lab/analysis.ts";
import { temporaryFolder } from "../doubles/temporary_folder.ts";

const MAIN = fileURLToPath(new URL("../../src/cli/main.js", import.meta.url));
const VECTORS = fileURLToPath(new URL("../../../test/vectors/", import.meta.url));
/** One codec that is always there and one pool: the least that an analysis takes. */
const QUICK = ["--codec", "lz4", "--pool", "zbud-6.12"];
/** No test waits longer; the slowest takes about a second. */
const TIMEOUT_MS = 300_000;

const folder = temporaryFolder("cli");

function at(name: string): string {
  return join(folder, name);
}

function zcache(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
    encoding: "utf8",
    timeout: TIMEOUT_MS,
    maxBuffer: 1 << 26,
  });
  return { status, stdout, stderr };
}

/** A usage error: exit code 2, nothing on stdout, one line on stderr that matches. */
function assertUsage(args: string[], message: RegExp): void {
  const { status, stdout, stderr } = zcache(...args);
  assert.match(stderr, message);
  assert.equal(stderr.trimEnd().split("\n").length, 1, stderr);
  assert.equal(stdout, "");
  assert.equal(status, 2);
}

/** A run that measured nothing or failed: exit code 1, no stack trace. */
function assertFailed(args: string[], message: RegExp): void {
  const { status, stderr } = zcache(...args);
  assert.match(stderr, message);
  assert.doesNotMatch(stderr, /^ {4}at /m);
  assert.equal(status, 1);
}

function report(...args: string[]): Report {
  const { status, stdout, stderr } = zcache("analyze", "--json", ...args);
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout) as Report;
}

const text = "one page of text is like another, they say. ".repeat(1000);
writeFileSync(at("text"), text);
writeFileSync(at("empty"), "");
mkdirSync(at("nothing"));

test("the help that loads no command says the same as that which loads them all", () => {
  // A second word makes the program load all commands.
  const all = zcache("--help", "no-such-command").stdout;
  assert.match(all, /attach \[options\]/);
  for (const word of ["--help", "-h"]) assert.deepEqual(zcache(word).stdout, all);
  assert.equal(zcache().stderr, all);
});

test("version and help are printed", () => {
  assert.match(zcache("--version").stdout, /^\d+\.\d+\.\d+\n$/);
  const help = zcache("--help");
  assert.equal(help.status, 0);
  for (const command of ["analyze", "replay", "simulate", "codecs", "pools"]) {
    assert.match(help.stdout, new RegExp(`^ {2}${command} `, "m"));
    assert.equal(zcache(command, "--help").status, 0);
  }
});

test("codecs and pools are listed", () => {
  const codecs = JSON.parse(zcache("codecs", "--json").stdout);
  assert.ok(codecs.find((one: { codec: string }) => one.codec === "lz4").available);
  assert.match(zcache("codecs").stdout, /^lz4 +true/m);
  assert.match(zcache("pools").stdout, /^zbud-6\.12 /m);
});

test("usage errors name what is wrong and what is allowed", () => {
  const file = at("text");
  assertUsage(["analyze"], /nothing to analyze: name files or folders, or give --pid N/);
  assertUsage(["analyze", "--codec", "lz5", file], /there is no codec "lz5"; write lz4, /);
  assertUsage(["analyze", "--pool", "zb", file], /no pool is called "zb"; available: .*zbud-6\.12/);
  assertUsage(["analyze", "--pool", "", file], /--pool: "" is not a list of names/);
  assertUsage(["analyze", "--page-size", "5K", file], /--page-size: 5K .* write 4K, 8K, 16K/);
  assertUsage(["analyze", "--page-size", "big", file], /--page-size: "big" is not a size/);
  assertUsage(["analyze", "--limit", "1X", file], /--limit: "1X" is not a size/);
  assertUsage(["analyze", "--limit", "0", file], /--limit: 0 is not allowed/);
  assertUsage(["analyze", "--window", "9G", file], /--window: 9G is not allowed; .* at most/);
  assertUsage(["analyze", "--sample", "few", file], /--sample: "few" .* whole number from 1/);
  assertUsage(["analyze", "--seed", "-1", file], /--seed: "-1" is not allowed/);
  assertUsage(["analyze", "--threads", "9", file], /--threads: "9" .* from 1 to 2/);
  assertUsage(["analyze", "--pid", "self"], /--pid: "self" .* whole number/);
  assertUsage(["analyze", "--html", at("no/page.html"), file], /--html: can't write to/);
  assertUsage(["analyze", "--colour", file], /unknown option '--colour'/);
  assertUsage(["replay", "--pool", "zbad", at("text")], /no pool is called "zbad"/);
  assertUsage(["replay", at("text")], /required option '--pool <names>' not specified/);
  assertUsage(["replay", "--pool", "zbud-6.12"], /missing required argument 'trace'/);
  assertUsage(["defrag"], /unknown command 'defrag'/);
});

test("an analysis as JSON", () => {
  const json = report(...QUICK, at("text"));
  const pages = Math.ceil(text.length / 4096);
  assert.equal(json.schema, 1);
  assert.equal(json.pages, pages);
  assert.equal(json.original_bytes, pages * 4096);
  assert.equal(json.input.bytes, text.length);
  assert.equal(json.input.pieces, 1);
  assert.equal(json.input.sample, null);
  assert.deepEqual(json.input.sources, [at("text")]);
  assert.equal(json.results.length, 1);
  const [result] = json.results;
  assert.equal(result!.codec, "lz4");
  assert.equal(result!.pool, "zbud-6.12");
  assert.equal(result!.pool_bytes, result!.pool_pages * 4096);
  assert.ok(result!.effective_ratio > 1.5);
  assert.ok(result!.put_ns.median > 0 && result!.put_ns.p99 >= result!.put_ns.median);
  assert.ok(json.elapsed_seconds > 0 && json.codec_seconds > 0);
  assert.ok(json.memory.bound_bytes >= json.memory.peak_bytes);
  assert.match(json.recommendation, /^Take zbud-6\.12 with lz4: /);
});

test("one thread and two measure the same", () => {
  const [one, two] = ["1", "2"].map((threads) => report(...QUICK, "--threads", threads, folder));
  assert.deepEqual(
    one!.results.map((result) => [result.pool_pages, result.payload_bytes, result.held_bytes]),
    two!.results.map((result) => [result.pool_pages, result.payload_bytes, result.held_bytes]),
  );
});

test("an analysis as text and as a page", () => {
  mkdirSync(at("<b>&"));
  writeFileSync(at("<b>&/file"), text);
  const page = at("page.html");
  const { status, stdout, stderr } = zcache("analyze", ...QUICK, "--html", page, at("<b>&"));
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^lz4 +zbud-6\.12 +\d\.\d\dx/m);
  assert.match(stdout, /Take zbud-6\.12 with lz4: .*\.\n$/);
  const html = readFileSync(page, "utf8");
  assert.match(html, /<title>zcache analyze: [^<]*&lt;b&gt;&amp;<\/title>/);
  assert.doesNotMatch(html, /<b>&/);
  assert.doesNotMatch(html, /(src|href)="(?!data:)/);
  assert.match(html, /<meta name="viewport" content="width=device-width/);
});

test("anything but a file is named and skipped", {
  skip: process.platform === "win32",
}, async () => {
  mkdirSync(at("odd"));
  writeFileSync(at("odd/text"), text);
  writeFileSync(at("odd/empty"), "");
  execFileSync("mkfifo", [at("odd/fifo")]);
  symlinkSync("../..", at("odd/loop"));
  const server = createServer().listen(at("odd/socket"));
  await new Promise((resolve) => server.once("listening", resolve));
  const { status, stdout, stderr } = zcache("analyze", "--json", ...QUICK, at("odd"));
  server.close();
  assert.equal(status, 0, stderr);
  const { input } = JSON.parse(stdout) as Report;
  assert.deepEqual(
    [...input.skipped].sort((a, b) => (a.name < b.name ? -1 : 1)),
    [
      { name: at("odd/fifo"), reason: "a FIFO" },
      { name: at("odd/socket"), reason: "a socket" },
    ],
  );
  assert.deepEqual([input.pieces, input.links, input.empty], [1, 1, 1]);
  assert.match(stderr, /^zcache: not read: .*fifo: a FIFO$/m);
});

test("an analysis without a page exits with 1", () => {
  assertFailed(
    ["analyze", at("missing")],
    /not read: .*missing: no such file or folder \(ENOENT\)/,
  );
  assertFailed(["analyze", at("empty")], /nothing was measured/);
  assertFailed(["analyze", at("nothing")], /nothing was measured/);
  assertFailed(["analyze", "/dev/null"], /not read: \/dev\/null: a character device/);
  assertFailed(["analyze", "--pid", "4194303"], /process 4194303: no such process/);
  const { stdout, status } = zcache("analyze", "--json", at("empty"));
  assert.equal(status, 1);
  assert.equal((JSON.parse(stdout) as Report).pages, 0);
});

test("an unreadable file is named and skipped", {
  skip: process.getuid?.() === 0 ? "root reads everything" : false,
}, () => {
  writeFileSync(at("secret"), text);
  chmodSync(at("secret"), 0);
  assertFailed(["analyze", at("secret")], /not read: .*secret: permission denied \(EACCES\)/);
});

test("the memory of a process", {
  skip: existsSync("/proc/self/pagemap") ? false : "no /proc here",
}, async () => {
  const child = spawn(process.execPath, [
    "-e",
    "const b = Buffer.alloc(8 << 20, 'some text'); console.log('up'); setInterval(() => b, 1e6)",
  ]);
  await new Promise((resolve) => child.stdout.once("data", resolve));
  try {
    const json = report(...QUICK, "--pid", String(child.pid));
    assert.ok(json.original_bytes >= 8 << 20);
    assert.match(json.input.sources[0]!, /^process \d+$/);
  } finally {
    child.kill();
  }
});

test("a sample of a folder says so", () => {
  writeFileSync(at("large"), text.repeat(40));
  const json = report(...QUICK, "--sample", "50", "--seed", "9", at("large"));
  assert.equal(json.pages, 50);
  assert.equal(json.input.sample!.seed, 9);
  assert.match(
    zcache("analyze", ...QUICK, "--sample", "50", at("large")).stdout,
    /A fair sample: 50 of/,
  );
});

test("replay prints the rows of the vectors", () => {
  const trace = join(VECTORS, "trace_histA.csv");
  const { status, stdout } = zcache("replay", "--pool", "zbud-6.12", trace);
  assert.equal(status, 0);
  const lines = stdout.trimEnd().split("\n");
  assert.equal(lines[0], "alloc,phase,ops,objs,rejects,stored_bytes,pages");
  const expected = readFileSync(join(VECTORS, "pages_histA.csv"), "utf8")
    .split("\n")
    .filter((line) => line.includes(",zbud-6.12,") && line.includes(",cp,"))
    .map((line) => line.split(","))
    .map(([, alloc, , , ...rest]) => [alloc, ...rest.slice(0, -1)].join(","));
  assert.deepEqual(
    lines.filter((line) => line.includes(",cp,")),
    expected,
  );
  const rows = JSON.parse(zcache("replay", "--json", "--pool", "zbud-6.12", trace).stdout);
  assert.equal(rows.length, lines.length - 1);
  assert.equal(Object.keys(rows[0]).join(","), lines[0]);
});

test("a bad trace is refused with the number of its line", () => {
  const trace = (name: string, content: string) => {
    writeFileSync(at(name), content);
    return ["replay", "--pool", "zbud-6.12", at(name)];
  };
  assertFailed(
    trace("t1", "op,slot,size\na,1,100\nb,2,3\n"),
    /t1: line 3: "b,2,3" is not a trace step/,
  );
  assertFailed(trace("t2", "a,1,100\na,1,100\n"), /t2: line 2: slot 1 is allocated while/);
  assertFailed(trace("t3", "a,1,100\n\nf,2\n"), /t3: line 3: slot 2 is freed while nothing/);
  assertFailed(trace("t4", "a,1,0"), /t4: line 1: slot 1: an allocation of 0 bytes/);
  assertFailed(trace("t5", `a,1,10\n${"x".repeat(100_000)}`), /t5: line 2: longer than 4096/);
  assertFailed(["replay", "--pool", "zbud-6.12", at("gone")], /can't read .*gone: no such file/);
  assertFailed(["replay", "--pool", "zbud-6.12", folder], /can't read .*: not a regular file/);
});

test("a closed pipe is no error", { skip: process.platform === "win32" }, () => {
  const trace = join(VECTORS, "trace_uniform.csv");
  const replay = '"$0" "$1" replay --pool zbud-6.12,dense "$2"';
  const command = `${replay} | head -n 1; exit \${PIPESTATUS[0]}`;
  const { stdout, stderr, status } = spawnSync(
    "bash",
    ["-c", command, process.execPath, MAIN, trace],
    {
      encoding: "utf8",
      timeout: TIMEOUT_MS,
    },
  );
  assert.equal(stdout, "alloc,phase,ops,objs,rejects,stored_bytes,pages\n");
  assert.equal(stderr, "");
  assert.equal(status, 0);
});

test("an interrupt ends with 130", { skip: process.platform === "win32" }, async () => {
  writeFileSync(at("long"), text.repeat(3000));
  // So much that no machine is done with it before it is interrupted.
  const inputs = new Array<string>(100).fill(at("long"));
  const child = spawn(process.execPath, [MAIN, "analyze", ...QUICK, ...inputs]);
  const ended = new Promise((resolve) =>
    child.once("close", (code, signal) => resolve(code ?? signal)),
  );
  setTimeout(() => child.kill("SIGINT"), 600);
  // Before the handler is there, the signal itself ends the program: to a shell the same.
  assert.ok([130, "SIGINT"].includes((await ended) as number | string));
});
