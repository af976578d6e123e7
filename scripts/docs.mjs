// `npm run docs`: builds the API reference of every entry point of the package into build/api/,
// from the comments in the sources. Ends with an error if a link in a comment leads nowhere, or if
// an entry point mentions a type that none exports. Members for the package itself are @internal.
//
// TypeDoc 0.28 works with TypeScript up to 6, and this project compiles with 7. So both are fetched
// by npx when the reference is built, at the versions below, and are no development dependencies.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const TOOLS = ["typedoc@0.28.20", "typescript@6.0.3"];
const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const build = join(root, "build");

/** The source of what an entry of `exports` names: its file, or an object of conditions. */
function sourceOf(entry) {
  if (typeof entry === "object") return sourceOf(entry.import ?? entry.default);
  const source = entry.replace(/^\.\/dist\//, "").replace(/\.js$/, ".ts");
  if (existsSync(join(root, source))) return source;
  throw new Error(`package.json: exports: ${entry}: there is no ${source}`);
}

const { exports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const entryPoints = Object.entries(exports)
  .filter(([name]) => name !== "./package.json")
  .map(([, entry]) => join(root, sourceOf(entry)));

const options = {
  name: "zcache",
  entryPoints,
  tsconfig: join(root, "tsconfig.json"),
  out: join(build, "api"),
  readme: "none",
  excludePrivate: true,
  excludeInternal: true,
  excludeExternals: true,
  // The comments are what is wanted; `npm run check` finds errors of types.
  skipErrorChecking: true,
  // `@alias` is a mark for knip.
  blockTags: ["@param", "@returns", "@throws", "@alias"],
  excludeTags: ["@alias"],
  validation: { invalidLink: true, invalidPath: true, notExported: true, notDocumented: false },
  treatWarningsAsErrors: true,
};
mkdirSync(build, { recursive: true });
const file = join(build, "typedoc.json");
writeFileSync(file, JSON.stringify(options, null, 2));
const packages = TOOLS.flatMap((tool) => ["--package", tool]);
const command = ["--yes", ...packages, "typedoc", "--options", file];
const { status } = spawnSync("npx", command, { stdio: "inherit", cwd: root });
process.exitCode = status ?? 1;
