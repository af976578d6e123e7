// The pages of documentation: every relative link leads to a file, and to a heading of it where the
// link names one; every source file that a page names exists; the table of folders is the one that
// test/tidy.test.ts enforces; every decision has a number, a status and a date.
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join, normalize } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
/** What the build, the package manager and git make. */
const SKIPPED = ["node_modules", "dist", "build", "coverage", ".git"];
const FILES = filesBelow("");
const PAGES = FILES.filter((path) => path.endsWith(".md"));
/** Files that the build makes, and that pages may name. */
const BUILT = /^(dist|build|node_modules)\//;

interface Page {
  readonly path: string;
  readonly text: string;
}

/** Paths from the root, with forward slashes. */
function filesBelow(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
    if (SKIPPED.includes(entry.name)) return [];
    const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
    return entry.isDirectory() ? filesBelow(path) : [path];
  });
}

function readPage(path: string): Page {
  return { path, text: readFileSync(join(ROOT, path), "utf8") };
}

/** The page without its blocks of code: what looks like a link in a program is none. */
function proseOf(text: string): string {
  return text.replace(/^( *)```[\s\S]*?^\1```$/gm, "");
}

/** The anchors of a page's headings, as GitHub makes them. */
function anchorsOf(text: string): Set<string> {
  const seen = new Map<string, number>();
  const anchors = new Set<string>();
  for (const [, heading] of proseOf(text).matchAll(/^#{1,6} +(.+?) *#*$/gm)) {
    const words = heading!.replace(/\[([^\]]*)\]\([^)]*\)/g, "$1").toLowerCase();
    const slug = words.replace(/[^\p{L}\p{N}\p{M} _-]/gu, "").replaceAll(" ", "-");
    const count = seen.get(slug) ?? 0;
    seen.set(slug, count + 1);
    anchors.add(count === 0 ? slug : `${slug}-${count}`);
  }
  return anchors;
}

function brokenLinks(page: Page, textOf: (path: string) => string | undefined): string[] {
  const prose = proseOf(page.text).replace(/`[^`\n]*`/g, "");
  const links = [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map((match) => match[1]!);
  return links.flatMap((link) => {
    if (/^[a-z]+:/.test(link)) return [];
    const [target, anchor] = link.split("#");
    const path =
      target === "" ? page.path : normalize(join(dirname(page.path), decodeURI(target!)));
    const text = textOf(path);
    if (text === undefined) return [`${page.path}: ${link}: there is no ${path}`];
    if (anchor === undefined || anchorsOf(text).has(anchor)) return [];
    return [`${page.path}: ${link}: ${path} has no heading #${anchor}`];
  });
}

/** Names of source files in backticks, from the root, below `src/`, or without their folder. */
function missingFiles(page: Page, files: readonly string[]): string[] {
  const named = [...proseOf(page.text).matchAll(/`([\w./-]+\.(?:ts|mjs|sh))`/g)];
  const folders = [...proseOf(page.text).matchAll(/`((?:src|test|bench|scripts)\/[\w./-]*)`/g)]
    .map(([, name]) => name!)
    .filter((name) => !/\.\w+$/.test(name))
    .filter((name) => !files.some((path) => path.startsWith(`${name.replace(/\/$/, "")}/`)))
    .map((name) => `${page.path}: there is no folder ${name}`);
  const missing = named.flatMap(([, name]) => {
    // NAME stands for a name to choose.
    if (BUILT.test(name!) || /\bNAME\b/.test(name!)) return [];
    const found = name!.includes("/")
      ? files.includes(name!) || files.includes(`src/${name}`)
      : files.some((path) => basename(path) === name);
    return found ? [] : [`${page.path}: there is no file ${name}`];
  });
  return [...missing, ...folders];
}

/** The rows of folders, as the laws in test/tidy.test.ts have them. */
function rowsOfLaw(source: string): string[][] {
  const rows = /const ROWS[^=]*= \[\n([\s\S]*?)\n\];/.exec(source)?.[1] ?? "";
  return rows.split("\n").map((row) => [...row.matchAll(/"(\w+)"/g)].map((match) => match[1]!));
}

function rowsOfPage(text: string): string[][] {
  const rows: string[][] = [];
  for (const [, row, folder] of text.matchAll(/^\| *(\d*) *\| `(\w+)\/` \|/gm)) {
    if (row !== "") rows.push([]);
    rows.at(-1)!.push(folder!);
  }
  return rows.map((row) => row.sort());
}

test("links lead somewhere", async (t) => {
  await t.test("a link that leads nowhere is found", () => {
    const text = "[a](b.md) [c](c.md) [d](#d) [e](#E)\n```\n[f](f.md)\n```\n## `D` (x)";
    const textOf = (path: string) =>
      path === "docs/b.md" ? "" : path === "docs/a.md" ? text : undefined;
    const broken = brokenLinks({ path: "docs/a.md", text }, textOf);
    assert.equal(broken.length, 3, broken.join("\n"));
    assert.deepEqual([...anchorsOf("# A `b/c`, d\n## x\n## x")], ["a-bc-d", "x", "x-1"]);
  });
  await t.test("on all pages", () => {
    const textOf = (path: string) => {
      const isThere = existsSync(join(ROOT, path));
      return isThere && path.endsWith(".md")
        ? readPage(path).text
        : isThere || BUILT.test(path)
          ? ""
          : undefined;
    };
    const broken = PAGES.flatMap((path) => brokenLinks(readPage(path), textOf));
    assert.ok(PAGES.length > 20, `${PAGES.length} pages`);
    assert.equal(broken.length, 0, `\n${broken.join("\n")}`);
  });
});

test("source files that pages name exist", async (t) => {
  await t.test("a name of no file is found", () => {
    const page = {
      path: "docs/a.md",
      text: "`store/gone.ts` `store/there.ts` `there.ts` `gone.ts`",
    };
    assert.equal(missingFiles(page, ["src/store/there.ts"]).length, 2);
  });
  await t.test("on all pages", () => {
    const missing = PAGES.flatMap((path) => missingFiles(readPage(path), FILES));
    assert.equal(missing.length, 0, `\n${missing.join("\n")}`);
  });
});

test("docs/ARCHITECTURE.md has the folders of src in the rows of test/tidy.test.ts", () => {
  const law = rowsOfLaw(readFileSync(join(ROOT, "test/tidy.test.ts"), "utf8"));
  assert.ok(law.length > 5, "ROWS was not found in test/tidy.test.ts");
  const page = rowsOfPage(readPage("docs/ARCHITECTURE.md").text);
  assert.deepEqual(
    page,
    law.map((row) => [...row].sort()),
  );
});

test("decisions have a number, a status and a date", () => {
  const decisions = PAGES.filter((path) => /^docs\/decisions\/\d/.test(path));
  assert.ok(decisions.length > 10, `${decisions.length} decisions`);
  for (const path of decisions) {
    const number = basename(path).slice(0, 4);
    const [title, empty, status] = readPage(path).text.split("\n");
    assert.match(title!, new RegExp(`^# ${number}: \\S`), path);
    assert.equal(empty, "", path);
    assert.match(
      status!,
      /^Status: (accepted|superseded by .+)\. Date: \d{4}-\d\d-\d\d(, revised \d{4}-\d\d-\d\d)?\.$/,
      path,
    );
  }
});
