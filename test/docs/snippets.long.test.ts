// What README.md and the pages in docs/ show is run as it stands. A block of JavaScript is a
// program of its own, a block of shell is run line by line, a block of TOML is a configuration.
//
// Below the repository, Node finds the package by its own name, so programs are not changed.
// Of a shell block, only what the machine decides is replaced: names of big folders (PLACES), and a
// daemon is not started but checked. A block that can't run says why, in a comment before it:
// <!-- not run: REASON -->
import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import * as fs from "node:fs";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const HERE = dirname(fileURLToPath(import.meta.url));
const ROOT = join(HERE, "../../..");
const MAIN = join(HERE, "../../src/cli/main.js");
const LIMIT_MS = 300_000;
/** What console.assert writes, and nothing else that a program says. */
const FAILED = /Assertion failed/;

interface Snippet {
  readonly page: string;
  readonly line: number;
  readonly language: string;
  readonly text: string;
  /** Why it can't run. */
  readonly reason: string | undefined;
}

function snippetsOf(page: string, text: string): Snippet[] {
  const blocks = text.matchAll(
    /(?:^<!-- not run: ([^\n]+) -->\n\n?)?^( *)```([^\n]*)\n([\s\S]*?)^\2```$/gm,
  );
  return [...blocks].map(({ 0: all, 1: reason, 3: language, 4: block, index }) => ({
    page,
    line: text.slice(0, index + all.indexOf("```")).split("\n").length,
    language: language!,
    text: block!,
    reason,
  }));
}

const PAGES = ["README.md", "CONTRIBUTING.md"].concat(
  fs
    .readdirSync(join(ROOT, "docs"), { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".md"))
    .map((path) => `docs/${path}`),
);
const SNIPPETS = PAGES.filter((page) => fs.existsSync(join(ROOT, page))).flatMap((page) =>
  snippetsOf(page, fs.readFileSync(join(ROOT, page), "utf8")),
);

/** Below the built tests, so that installed packages are found. */
const FOLDER = fs.mkdtempSync(join(HERE, "snippet-"));
/** What a program leaves behind goes with its folder. */
let nth = 0;
function freshFolder(): string {
  const folder = join(FOLDER, `${nth++}`);
  fs.mkdirSync(folder);
  return folder;
}
after(() => fs.rmSync(FOLDER, { recursive: true }));

/** The commands that a snippet finds: ours, by its name and by npx. */
const COMMANDS = join(FOLDER, "bin");
fs.mkdirSync(COMMANDS);
writeCommand("zcache", `exec "${process.execPath}" "${MAIN}" "$@"`);
writeCommand("npx", `[ "$1" = zcache ] || exit 9\nshift\nexec zcache "$@"`);
// It would change the packages that other tests are using.
writeCommand("npm", `echo "npm in a snippet: say above the block why it is not run" >&2; exit 9`);

function writeCommand(name: string, script: string): void {
  fs.writeFileSync(join(COMMANDS, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
}

const ENV = {
  ...process.env,
  NODE_TEST_CONTEXT: "",
  PATH: `${COMMANDS}:${process.env["PATH"]}`,
  /** Here is the control socket of the daemon that snippets look at. */
  XDG_RUNTIME_DIR: FOLDER,
};

/** What stands for files and folders that a machine has or has not. */
const SMALL = join(FOLDER, "small");
fs.mkdirSync(SMALL);
for (const file of ["a", "b"]) fs.writeFileSync(join(SMALL, file), "some text ".repeat(2000));
const PLACES: readonly (readonly [RegExp, string])[] = [
  [/(?<= )(\/usr\/lib|\/srv\/data|PATH)(?= |$)/g, SMALL],
  [/\/etc\/zcache\.toml/g, join(ROOT, "contrib/zcache.toml")],
  [/(?<=--pid )[\d,]+/g, `${process.pid}`],
  [/\b(?:cdn\.tr\.gz web|trace)\.csv\b/g, join(ROOT, "test/vectors/trace_histA.csv")],
];

/** The commands of a block: without comments, and each in one line. */
function commandsOf(text: string): string[] {
  const lines = text.replaceAll("\\\n", " ").split("\n");
  return lines.map((line) => line.replace(/(^|\s+)#.*$/, "").trim()).filter((line) => line !== "");
}

/** A command that ends: a daemon is checked instead of started, a display draws once. */
function endingCommand(command: string): string {
  const placed = PLACES.reduce((text, [place, path]) => text.replaceAll(place, path), command);
  if (/^(npx )?zcache serve\b/.test(placed) && !/--(check|print)/.test(placed)) {
    return `${placed} --check-config`;
  }
  return /^(npx )?zcache top\b/.test(placed) ? `${placed} --once` : placed;
}

const run = promisify(execFile);

async function runProgram(text: string): Promise<void> {
  const cwd = freshFolder();
  fs.writeFileSync(join(cwd, "program.mjs"), text);
  const options = { cwd, env: ENV, timeout: LIMIT_MS };
  const { stderr } = await run(process.execPath, ["program.mjs"], options);
  assert.doesNotMatch(stderr, FAILED);
}

async function runShell(text: string): Promise<void> {
  const cwd = freshFolder();
  const commands = commandsOf(text).map(endingCommand);
  if (commands.some((command) => /zcache (top|stats|ctl)\b/.test(command))) await startDaemon();
  for (const command of commands) {
    const options = { cwd, env: ENV, timeout: LIMIT_MS };
    await run("bash", ["-euo", "pipefail", "-c", command], options).catch((error: Error) => {
      assert.fail(`${command}: ${error.message}`);
    });
  }
}

async function checkConfiguration(text: string): Promise<void> {
  fs.writeFileSync(join(FOLDER, "zcache.toml"), text);
  const args = ["serve", "--config", "zcache.toml", "--check-config"];
  await run("zcache", args, { cwd: FOLDER, env: ENV, timeout: LIMIT_MS });
}

let daemon: ChildProcess | undefined;
after(() => daemon?.kill());

/** The daemon that `zcache top`, `stats` and `ctl` talk to. */
async function startDaemon(): Promise<void> {
  if (daemon !== undefined) return;
  const args = ["--memcached-socket", "m", "--nbd-size", "16M", "--nbd-socket", "n", "--no-web"];
  daemon = spawn("zcache", ["serve", ...args], { cwd: FOLDER, env: ENV, stdio: "ignore" });
  const control = join(FOLDER, `zcache-${process.getuid?.() ?? 0}.ctl`);
  while (!fs.existsSync(control)) {
    assert.equal(daemon.exitCode, null, "the daemon has ended");
    await sleep(20);
  }
}

const RUNNERS: Readonly<Record<string, (text: string) => Promise<void>>> = {
  js: runProgram,
  sh: runShell,
  toml: checkConfiguration,
};
/** Diagrams, synopses and what programs print. */
const PICTURES = ["", "text"];

test("snippets are found, with their reasons", () => {
  const page =
    "a\n```js\n1;\n```\n<!-- not run: b c -->\n\n```sh\nx \\\n  y # z\n```\n  ```\n  ```\n";
  const [program, shell, picture] = snippetsOf("p", page);
  assert.deepEqual([program!.line, program!.text, program!.reason], [2, "1;\n", undefined]);
  assert.deepEqual([shell!.line, shell!.language, shell!.reason], [7, "sh", "b c"]);
  assert.deepEqual(commandsOf(shell!.text), ["x    y"]);
  assert.equal(picture!.language, "");
  assert.ok(SNIPPETS.filter(({ language }) => language === "js").length >= 10);
  assert.ok(SNIPPETS.filter(({ language }) => language === "sh").length >= 10);
});

test("a snippet that fails is found", async () => {
  await assert.rejects(runProgram("console.assert(1 === 2);"), /Assertion failed/);
  await assert.rejects(runProgram('import "zcache/nothing";'), /ERR_PACKAGE_PATH_NOT_EXPORTED/);
  await assert.rejects(runShell("zcache serve --no-such-flag\n"), /no-such-flag/);
  await assert.rejects(checkConfiguration('[nbd]\nsise = "1G"\n'), /did you mean size/);
});

for (const { page, line, language, text, reason } of SNIPPETS) {
  if (PICTURES.includes(language)) continue;
  const skip = reason === undefined ? false : `not run: ${reason}`;
  test(`${page}:${line}: ${language}`, { timeout: LIMIT_MS, skip }, async () => {
    const runner = RUNNERS[language];
    assert.ok(runner !== undefined, `nothing runs blocks of ${language}`);
    await runner(text);
  });
}
