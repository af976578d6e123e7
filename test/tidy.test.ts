// The laws of how this code reads, as a test on the sources. Each law is a function from the files
// to its findings, and is first shown an offence of its own, so that a law that sees nothing is
// seen too.
//
// The sources are read as text, by lines: they are formatted, so a function's body ends at the
// brace that stands as far in as the line that began it.
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const LINE_COLUMNS = 100;
const PARAMETERS = 5;
const FUNCTION_LINES = 70;
const FILE_LINES = 500;

interface SourceFile {
  /** From the root of the repository, with forward slashes. */
  readonly path: string;
  readonly lines: readonly string[];
}

type Law = (file: SourceFile) => string[];

/**
 * The folders of `src/`, from the top to the bottom: a folder imports from rows below its own only.
 * Folders in one row do not import each other.
 */
const ROWS: readonly (readonly string[])[] = [
  ["cli"],
  ["adapters", "monitor"],
  ["memcached", "nbd"],
  ["cache", "zram"],
  ["persist", "remote"],
  ["node"],
  ["frontends", "lab"],
  ["values"],
  ["shard"],
  ["store"],
  ["backing", "codec", "policy", "pool", "tmem"],
  ["memory"],
  ["dashboard", "wasm"],
  ["base"],
];

/** The row of a folder, counted from the top; `src/index.ts` alone stands above all rows. */
function rowOf(folder: string): number {
  return folder === "" ? -1 : ROWS.findIndex((row) => row.includes(folder));
}

/**
 * The file that the WebAssembly module is compiled from. It alone imports upward: it joins the
 * kernels, each of which lies beside the layouts that it reads.
 */
const KERNELS_ROOT = "src/wasm/kernels.as.ts";

/** Folders that may use Node's modules and packages. The other folders also run in a browser. */
const ON_NODE = ROWS.slice(0, rowOf("node") + 1).flat();

/** The files that other packages import, and KERNELS_ROOT: only these export what others define. */
const ENTRY_FILES = [
  "src/index.ts",
  "src/pool/index.ts",
  "src/codec/index.ts",
  "src/memcached/index.ts",
  "src/nbd/index.ts",
  KERNELS_ROOT,
];

/**
 * Where shared words are touched by `Atomics`: below locks, lists and counters, and for a reason.
 */
const ATOMIC: readonly { readonly path: string; readonly reason: string }[] = [
  { path: "src/base/latency.ts", reason: "all threads add to the same histograms" },
  { path: "src/memory/", reason: "the locks themselves" },
  { path: "src/pool/base.ts", reason: "numbers the passes of shrink without the lock" },
  {
    path: "src/cache/single_flight.ts",
    reason: "a thread that waits for a load sleeps without a lock",
  },
  { path: "src/backing/outbox.ts", reason: "wakes the thread that serves the remote tier" },
  { path: "src/backing/fetches.ts", reason: "threads pass reads of remote pages to each other" },
  { path: "src/node/remote_fetches.ts", reason: "waits for the thread that serves remote pages" },
  { path: "src/node/remote_service.ts", reason: "waits for calls of other threads" },
  { path: "src/shard/quota.ts", reason: "limits are read without the locks of the shards" },
  { path: "src/memcached/items/shared.ts", reason: "cas numbers and flushes of all threads" },
  { path: "src/memcached/watch/board.ts", reason: "all threads see which events are watched" },
  {
    path: "src/store/open.ts",
    reason: "attaching reads without the lock whether the store is closed",
  },
  { path: "src/store/versions.ts", reason: "a near hit takes no lock" },
  {
    path: "src/store/request_sample.ts",
    reason: "threads record requests in one ring, without a lock",
  },
  { path: "src/store/sample_reader.ts", reason: "reads that ring" },
  {
    path: "src/store/maintainer.ts",
    reason: "the maintainer sleeps until a thread wakes it, and all threads see a store closed",
  },
  {
    path: "src/pool/zsmalloc/zsmalloc.ts",
    reason: "compaction yields to threads that wait for the lock",
  },
];

/** Functions whose parameters are not ours to choose. */
const FOREIGN_FUNCTIONS: readonly {
  readonly path: string;
  readonly names: readonly string[];
  readonly reason: string;
}[] = [
  {
    path: "src/codec/zstd_wasm.ts",
    names: ["_ZSTD_compress_usingDict", "_ZSTD_decompress_usingDict"],
    reason: "functions of zstd.h",
  },
  {
    path: "src/node/codecs/deflate.ts",
    names: ["writeSync"],
    reason: "a method of Node's zlib handles",
  },
  {
    path: "src/wasm/kernels.ts",
    names: ["lz4CompressDictionary", "lz4DecompressDictionary", "answerGets"],
    reason: "exports of the WebAssembly module: a call passes numbers in registers",
  },
];

function filesBelow(folder: string, ends: readonly string[]): SourceFile[] {
  if (!existsSync(join(ROOT, folder))) return [];
  return readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) return filesBelow(path, ends);
    return ends.some((end) => path.endsWith(end)) ? [readSource(path)] : [];
  });
}

function readSource(path: string): SourceFile {
  return { path, lines: readFileSync(join(ROOT, path), "utf8").trimEnd().split("\n") };
}

/** The folder of `src/` that a path stands in, `""` for `src/` itself, undefined elsewhere. */
function folderOf(path: string): string | undefined {
  const match = /^src\/(?:([^/]+)\/)?/.exec(path);
  return match === null ? undefined : (match[1] ?? "");
}

/** One finding for each line that `find` has something to say about. */
function eachLine(
  { path, lines }: SourceFile,
  find: (line: string) => string | undefined,
): string[] {
  return lines.flatMap((line, index) => {
    const found = find(line);
    return found === undefined ? [] : [`${path}:${index + 1}: ${found}`];
  });
}

/** The line without its comment. Strings that hold ` // ` are cut too, which no law minds. */
function codeOf(line: string): string {
  return /^\s*(\/\/|\/\*|\*)/.test(line) ? "" : line.replace(/\s\/\/ .*$/, "");
}

function importOf(line: string): string | undefined {
  return /(?:\bfrom\s+|\bimport\s*\(?\s*)["']([^"']+)["']/.exec(codeOf(line))?.[1];
}

const importsPointDown: Law = (file) => {
  const folder = folderOf(file.path);
  if (folder === undefined) return [];
  const row = rowOf(folder);
  if (folder !== "" && row < 0) return [`${file.path}:1: src/${folder} is not in ROWS`];
  return eachLine(file, (line) => {
    const specifier = importOf(line);
    if (specifier === undefined || !specifier.startsWith(".")) return undefined;
    const target = normalize(join(dirname(file.path), specifier)).replaceAll("\\", "/");
    const into = folderOf(target);
    if (into === folder || (into !== undefined && rowOf(into) > row)) return undefined;
    if (file.path === KERNELS_ROOT && target.endsWith(".as")) return undefined;
    return `src/${folder} does not import ${target}: it is not below in ROWS`;
  });
};

const onlyTheEntryPointLiesLoose: Law = ({ path }) =>
  /^src\/[^/]+$/.test(path) && path !== "src/index.ts"
    ? [`${path}:1: only index.ts lies outside of a folder`]
    : [];

const coreIsPlatformFree: Law = (file) => {
  const folder = folderOf(file.path);
  if (folder === undefined || folder === "" || ON_NODE.includes(folder)) return [];
  return eachLine(file, (line) => {
    const specifier = importOf(line);
    if (specifier !== undefined && !specifier.startsWith(".")) {
      return `"${specifier}": only ${ON_NODE.join(", ")} import what is Node's or a package`;
    }
    return /\b(process|Buffer|require|__dirname)[.([]/.test(codeOf(line))
      ? "a global of Node's"
      : undefined;
  });
};

const onlyEntriesReexport: Law = (file) => {
  if (ENTRY_FILES.includes(file.path)) return [];
  return eachLine(file, (line) =>
    /^export (type )?[{*]/.test(line)
      ? "only an entry file hands on what others export"
      : undefined,
  );
};

const BEGINS_FUNCTION = /(\)(: .*)?|=>) \{$/;
const OTHER_BLOCK =
  /^\s*(\} )?(if|else|for|while|do|switch|try|catch|finally|class|interface|with)\b/;
/** What groups tests is a list of functions, not one. */
const GROUP_OF_TESTS = /^\s*(describe|suite)\(/;

const functionsAreShort: Law = ({ path, lines }) => {
  const findings: string[] = [];
  lines.forEach((line, index) => {
    if (!BEGINS_FUNCTION.test(line) || OTHER_BLOCK.test(line) || GROUP_OF_TESTS.test(line)) return;
    const indent = /^\s*/.exec(line)![0];
    const closes = lines.findIndex((end, at) => at > index && end.startsWith(`${indent}}`));
    // Parameters on lines of their own stand above; the function begins where they do.
    let begins = index;
    if (/^\s*\)/.test(line)) {
      do begins--;
      while (begins > 0 && lines[begins]!.startsWith(`${indent} `));
    }
    const length = closes - begins + 1;
    if (length > FUNCTION_LINES) {
      findings.push(`${path}:${begins + 1}: ${length} lines, at most ${FUNCTION_LINES}`);
    }
  });
  return findings;
};

/** A name and the parenthesis after it, unless the name is a statement's keyword. */
const OPENS_LIST = /(?<!\b(?:if|for|while|switch|catch|with)\s*)([\w$#]*)\(/g;
/** What follows parameters, and never arguments: a return type, an arrow, a body. */
const FOLLOWS_PARAMETERS = /^(: | =>| \{)/;

const functionsHaveFewParameters: Law = ({ path, lines }) => {
  const text = lines.map(withoutTexts).join("\n");
  return [...text.matchAll(OPENS_LIST)].flatMap(({ index, 0: opening, 1: name }) => {
    const { count, end } = listAt(text, index + opening.length - 1);
    if (count <= PARAMETERS || !FOLLOWS_PARAMETERS.test(text.slice(end))) return [];
    const isForeign = FOREIGN_FUNCTIONS.some((at) => at.path === path && at.names.includes(name!));
    if (isForeign) return [];
    const line = text.slice(0, index).split("\n").length;
    return [`${path}:${line}: ${name} has ${count} parameters, at most ${PARAMETERS}`];
  });
};

/** A line of code with its strings empty, and without the arguments of generic types. */
function withoutTexts(line: string): string {
  const code = codeOf(line.replace(/"(\\.|[^"\\])*"|`(\\.|[^`\\])*`/g, '""'));
  const plain = code.replace(/<[^<>()=;]*>/g, "");
  return plain === code ? code : withoutTexts(plain);
}

/** The items of the list whose parenthesis opens at `start`, and the index behind the list. */
function listAt(text: string, start: number): { count: number; end: number } {
  let depth = 0;
  let count = 0;
  let itemAt = start + 1;
  for (let at = start; at < text.length; at++) {
    const char = text[at]!;
    if ("([{".includes(char)) depth++;
    else if (")]}".includes(char)) depth--;
    const ends = depth === 0 || (depth === 1 && char === ",");
    if (ends && text.slice(itemAt, at).trim() !== "") count++;
    if (ends) itemAt = at + 1;
    if (depth === 0) return { count, end: at + 1 };
  }
  return { count: 0, end: text.length };
}

const linesAreNarrow: Law = (file) =>
  eachLine(file, (line) => {
    const columns = [...line].length;
    return columns > LINE_COLUMNS ? `${columns} columns, at most ${LINE_COLUMNS}` : undefined;
  });

const filesAreShort: Law = ({ path, lines }) =>
  lines.length > FILE_LINES ? [`${path}:1: ${lines.length} lines, at most ${FILE_LINES}`] : [];

const filesOpenWithWhatTheyAre: Law = ({ path, lines }) => {
  const first = lines[0]!.startsWith("#!") ? lines[1]! : lines[0]!;
  if (/^(\/\/|\/\*\*) \S.{10,}/.test(first)) return [];
  return [`${path}:1: a file opens with a comment that says what it is`];
};

const nothingIsLeftOver: Law = (file) =>
  eachLine(file, (line) => {
    const words = /\b(TODO|FIXME|XXX|HACK)\b/.exec(line)?.[1];
    const calls = /\b(debugger;|(?:test|it|describe|suite)\.only\()|\bonly: true/.exec(line)?.[0];
    const printed = /\bconsole\.(log|debug|dir|trace)\(/.test(line) && prints(file.path) === false;
    return words ?? calls ?? (printed ? "console output" : undefined);
  });

/** Commands print; a library does not. */
function prints(path: string): boolean {
  return !path.startsWith("src/") || path.startsWith("src/cli/");
}

const syntaxIsErasable: Law = (file) =>
  eachLine(file, (line) => {
    const code = codeOf(line);
    return /^\s*(export )?(declare )?((const )?enum|namespace|module) \w+.*\{/
      .exec(code)?.[0]
      .trim();
  });

const atomicsStandInFewPlaces: Law = (file) => {
  if (!file.path.startsWith("src/")) return [];
  if (ATOMIC.some((place) => file.path.startsWith(place.path))) return [];
  return eachLine(file, (line) =>
    /\bAtomics\./.test(codeOf(line)) ? "Atomics outside of memory/; see ATOMIC" : undefined,
  );
};

/** The one that keeps the application's flags and preloads from the worker. */
const STARTS_WORKERS = "src/node/workers.ts";

const workersStartInOnePlace: Law = (file) => {
  if (!file.path.startsWith("src/") || file.path === STARTS_WORKERS) return [];
  return eachLine(file, (line) =>
    /\bnew Worker\(/.test(codeOf(line)) ? `startWorker of ${STARTS_WORKERS} does that` : undefined,
  );
};

const MACHINE_PATH = new RegExp(
  `(^|["'\`\\s=(:])/(${["work", "home", "tmp", "root"].join("|")})(/|\\b)`,
);

const noMachinePaths: Law = (file) =>
  eachLine(file, (line) => (MACHINE_PATH.test(line) ? "a path of one machine" : undefined));

/** Codes that the type in errors.ts lists and the page does not, and the other way round. */
function differingCodes(source: string, page: string): string[] {
  const union = /export type ErrorCode =([^;]*);/.exec(source)?.[1] ?? "";
  const codes = new Set(union.match(/ERR_[A-Z_]+/g));
  const listed = new Set(page.match(/\bERR_[A-Z_]+/g));
  return [
    ...[...codes].filter((code) => !listed.has(code)).map((code) => `${code} is not explained`),
    ...[...listed].filter((code) => !codes.has(code)).map((code) => `${code} does not exist`),
    ...(codes.size === 0 ? ["no type ErrorCode was found"] : []),
  ];
}

/** Groups of files that import each other, by any number of steps; imports of types count. */
function importCycles(files: readonly SourceFile[]): string[] {
  const imports = new Map(files.map((file) => [file.path, importsOf(file)]));
  const reachable = (from: string): Set<string> => {
    const seen = new Set<string>();
    const open = [from];
    for (let path = open.pop(); path !== undefined; path = open.pop()) {
      for (const target of imports.get(path) ?? []) {
        if (!seen.has(target)) open.push(target);
        seen.add(target);
      }
    }
    return seen;
  };
  const found = new Set<string>();
  for (const { path } of files) {
    const targets = reachable(path);
    if (!targets.has(path)) continue;
    const group = [...targets].filter((target) => reachable(target).has(path));
    found.add(group.sort().join(" ↔ "));
  }
  return [...found];
}

/** The files that a file imports, from the root of the repository. */
function importsOf({ path, lines }: SourceFile): string[] {
  return lines.flatMap((line) => {
    const specifier = importOf(line);
    if (specifier === undefined || !specifier.startsWith(".")) return [];
    const target = normalize(join(dirname(path), specifier)).replaceAll("\\", "/");
    return [target.endsWith(".ts") ? target : `${target}.ts`];
  });
}

const namesUseUnderscores: Law = ({ path }) =>
  /-[^/]*$/.test(path) ? [`${path}:1: words in names of files are joined by _`] : [];

/** Without what the build embeds (scripts/embed.mjs). */
const SOURCES = filesBelow("src", [".ts"]).filter(({ path }) => !path.endsWith(".binary.ts"));
const AROUND = ["test", "bench", "scripts"].flatMap((folder) =>
  filesBelow(folder, [".ts", ".mjs"]),
);
const CODE = [...SOURCES, ...AROUND];
/** This file names what it looks for. */
const OTHER_CODE = CODE.filter((file) => file.path !== "test/tidy.test.ts");
const PROSE = [...filesBelow("docs", [".md"]), ...filesBelow("scripts", [".sh"])];

/** What each law is about, the files under it, and an offence that it must find. */
const LAWS: readonly {
  readonly name: string;
  readonly law: Law;
  readonly files: readonly SourceFile[];
  readonly offence: { readonly path: string; readonly text: string };
}[] = [
  {
    name: "only index.ts lies loose in src",
    law: onlyTheEntryPointLiesLoose,
    files: SOURCES,
    offence: { path: "src/stores.ts", text: "// The stores of this process." },
  },
  {
    name: "names of files have underscores",
    law: namesUseUnderscores,
    files: CODE,
    offence: { path: "test/codec-lz4.test.ts", text: "// LZ4: round trips." },
  },
  {
    name: "imports point down, and siblings do not know each other",
    law: importsPointDown,
    files: SOURCES,
    offence: { path: "src/pool/x.ts", text: 'import {\n  a,\n} from "../codec/lz4.ts";' },
  },
  {
    name: "only folders from node upward use Node's modules and packages",
    law: coreIsPlatformFree,
    files: SOURCES,
    offence: { path: "src/lab/x.ts", text: 'import { readFileSync } from "node:fs";' },
  },
  {
    name: "only entry files re-export",
    law: onlyEntriesReexport,
    files: SOURCES,
    offence: { path: "src/lab/index.ts", text: 'export * from "./x.ts";' },
  },
  {
    name: `functions have at most ${FUNCTION_LINES} lines`,
    law: functionsAreShort,
    files: CODE,
    offence: {
      path: "src/lab/x.ts",
      text: `  run(\n    a: number,\n  ): void {\n${"    a++;\n".repeat(FUNCTION_LINES - 3)}  }`,
    },
  },
  {
    name: `functions have at most ${PARAMETERS} positional parameters`,
    law: functionsHaveFewParameters,
    files: CODE.filter((file) => !file.path.endsWith(".as.ts")),
    offence: {
      path: "src/lab/x.ts",
      text:
        "  run(a: Map<string, number>, b: [number, number], c = f(1, 2), d = 0, e = 0): void {\n" +
        "    run(a, b, c, d, e, f);\n  }\n" +
        "  run(\n    a: number,\n    b: number,\n    c: number,\n" +
        "    d: number,\n    e: number,\n    f: number,\n  ): void {\n  }",
    },
  },
  {
    name: `lines have at most ${LINE_COLUMNS} columns`,
    law: linesAreNarrow,
    files: CODE,
    offence: { path: "src/lab/x.ts", text: `//${"─".repeat(LINE_COLUMNS - 1)}` },
  },
  {
    name: `files other than tests have at most ${FILE_LINES} lines`,
    law: filesAreShort,
    files: CODE.filter((file) => !file.path.startsWith("test/")),
    offence: { path: "src/lab/x.ts", text: "//\n".repeat(FILE_LINES + 1).trimEnd() },
  },
  {
    name: "a file opens with what it is",
    law: filesOpenWithWhatTheyAre,
    files: CODE,
    offence: { path: "src/lab/x.ts", text: "#!/usr/bin/env node\nconst a = 1;" },
  },
  {
    name: "nothing is left over",
    law: nothingIsLeftOver,
    files: OTHER_CODE,
    offence: { path: "src/lab/x.ts", text: "  console.log(a);" },
  },
  {
    name: "no enums, no namespaces",
    law: syntaxIsErasable,
    files: OTHER_CODE,
    offence: { path: "src/lab/x.ts", text: "export const enum Mode { A }" },
  },
  {
    name: "Atomics stand in memory, and elsewhere only for a reason",
    law: atomicsStandInFewPlaces,
    files: SOURCES,
    offence: { path: "src/pool/x.ts", text: "  Atomics.add(words, at, 1); // counts" },
  },
  {
    name: "workers are started in one place",
    law: workersStartInOnePlace,
    files: SOURCES,
    offence: { path: "src/cli/x.ts", text: "const worker = new Worker(url);" },
  },
  {
    name: "no paths of one machine",
    law: noMachinePaths,
    files: [...OTHER_CODE, ...PROSE],
    offence: { path: "docs/x.md", text: "Look into `/home/someone`." },
  },
];

test("the sources are found", () => {
  assert.ok(SOURCES.length > 20, `${SOURCES.length} files in src`);
  assert.ok(AROUND.length > 5, `${AROUND.length} files around it`);
});

for (const { name, law, files, offence } of LAWS) {
  test(name, async (t) => {
    await t.test("the law finds an offence", () => {
      const findings = law({ path: offence.path, lines: offence.text.split("\n") });
      assert.equal(findings.length, 1, findings.join("\n"));
    });
    await t.test("the sources keep it", () => {
      const findings = files.flatMap((file) => law(file));
      assert.equal(findings.length, 0, `\n${findings.join("\n")}`);
    });
  });
}

test("no import cycles", async (t) => {
  await t.test("a cycle of three files is found, and types count", () => {
    const file = (path: string, target: string) => {
      return { path, lines: [`import type { A } from "${target}";`] };
    };
    const files = [file("src/a.ts", "./b/b.ts"), file("src/b/b.ts", "./c.ts")];
    assert.deepEqual(importCycles(files), []);
    const cycle = ["src/a.ts ↔ src/b/b.ts ↔ src/b/c.ts"];
    assert.deepEqual(importCycles([...files, file("src/b/c.ts", "../a.ts")]), cycle);
  });
  await t.test("the code has none", () => assert.deepEqual(importCycles(CODE), []));
});

test("what the laws allow is really there", () => {
  for (const { path } of ATOMIC) {
    const files = SOURCES.filter((file) => file.path.startsWith(path));
    const used = files.some((file) => file.lines.some((line) => codeOf(line).includes("Atomics.")));
    assert.ok(used, `${path} uses no Atomics: take it out of ATOMIC`);
  }
  for (const { path, names } of FOREIGN_FUNCTIONS) {
    const text = readSource(path).lines.join("\n");
    for (const name of names) assert.ok(text.includes(`${name}(`), `${path} has no ${name}`);
  }
  for (const path of ENTRY_FILES) assert.ok(existsSync(join(ROOT, path)), `${path} is gone`);
});

test("docs/errors.md explains every error code and no other", async (t) => {
  await t.test("the comparison finds both kinds of difference", () => {
    const source = 'export type ErrorCode =\n  | "ERR_ONE"\n  | "ERR_TWO";';
    assert.deepEqual(differingCodes(source, "## ERR_TWO\n## ERR_ONE"), []);
    assert.deepEqual(differingCodes(source, "`ERR_ONE` and ERR_THREE"), [
      "ERR_TWO is not explained",
      "ERR_THREE does not exist",
    ]);
    assert.equal(differingCodes("", "").length, 1);
  });
  await t.test("the page and the type agree", () => {
    assert.ok(existsSync(join(ROOT, "docs/errors.md")), "docs/errors.md is missing");
    const source = readFileSync(join(ROOT, "src/base/errors.ts"), "utf8");
    const page = readFileSync(join(ROOT, "docs/errors.md"), "utf8");
    assert.deepEqual(differingCodes(source, page), []);
  });
});
