// `zcache simulate`: compares the hit rates of eviction policies on recorded or synthetic traces of
// requests.

import { setImmediate as nextTurn } from "node:timers/promises";
import { Command } from "commander";
import { ZcacheError } from "../base/errors.ts";
import { count } from "../lab/report/format.ts";
import { type GeneratedTrace, generate, TRACE_SHAPES } from "../lab/simulate/generate.ts";
import {
  resultOf,
  type SimulationReport,
  simulationPage,
  simulationText,
} from "../lab/simulate/report.ts";
import { readRequest, VALUE_BYTES_MAX } from "../lab/simulate/request.ts";
import {
  BELADY,
  checkKind,
  KEPT_MAX,
  kindNames,
  kindsByDefault,
  Simulation,
} from "../lab/simulate/simulation.ts";
import { chartLibrary } from "../node/chart_library.ts";
import { checkOneForm, csvText } from "./csv.ts";
import { complain, EXIT_FAILED, endOnSignals } from "./exit.ts";
import { eachLine } from "./lines.ts";
import { parseList, parseSizeIn, parseWhole } from "./options.ts";
import { checkFolder, write, writeJson, writePage } from "./output.ts";
import { Progress } from "./progress.ts";
import { summaryOf } from "./summaries.ts";

const KEYS_MAX = 100_000_000;
const REQUESTS_MAX = 10_000_000_000;
const SEED_MAX = 2 ** 32 - 1;
const MEMORY_MIN = 64 * 1024;
const MEMORY_MAX = 2 ** 40;

interface SimulateArgs {
  readonly zipf?: string;
  readonly shape?: string;
  readonly keys: string;
  readonly requests: string;
  readonly sizes: string;
  readonly seed: string;
  readonly memory: string;
  readonly policies?: string;
  readonly overhead: string;
  readonly ratio: string;
  readonly warmup: string;
  readonly json?: true;
  readonly csv?: true;
  readonly html?: string;
}

/** The checked arguments. */
interface Plan {
  readonly paths: readonly string[];
  readonly made: GeneratedTrace | undefined;
  readonly budgetsBytes: readonly number[];
  readonly kinds: readonly string[];
  readonly overheadBytes: number;
  readonly ratio: number;
  readonly warmup: number;
  readonly json: boolean;
  readonly csv: boolean;
  readonly html: string | undefined;
}

/** Parses a decimal number such as 0.99. */
function parseNumber(text: string, what: string, min: number, max: number): number {
  const number = /^\d{1,9}(\.\d{1,9})?$/.test(text.trim()) ? Number(text) : Number.NaN;
  if (number >= min && number <= max) return number;
  const message = `${what}: "${text}" is not allowed; write a number from ${min} to ${max}`;
  throw new ZcacheError("ERR_OPTION", message);
}

function parseSizes(text: string): readonly [min: number, max: number] {
  const [from, to = from, ...rest] = text.split("-");
  const min = parseSizeIn(from!, "--sizes", VALUE_BYTES_MAX);
  const max = parseSizeIn(to!, "--sizes", VALUE_BYTES_MAX);
  if (rest.length === 0 && min <= max) return [min, max];
  const message = `--sizes: "${text}" is not allowed; write SIZE or MIN-MAX, such as 512-8K`;
  throw new ZcacheError("ERR_OPTION", message);
}

function madeOf(args: SimulateArgs): GeneratedTrace | undefined {
  if (args.zipf === undefined && args.shape === undefined) return undefined;
  const shape = TRACE_SHAPES.find((one) => one === (args.shape ?? "zipf"));
  if (shape === undefined) {
    const known = TRACE_SHAPES.join(", ");
    const message = `--shape: "${args.shape}" is not allowed; write one of ${known}`;
    throw new ZcacheError("ERR_OPTION", message);
  }
  const [sizeMin, sizeMax] = parseSizes(args.sizes);
  return {
    shape,
    exponent: parseNumber(args.zipf ?? "0.99", "--zipf", 0, 10),
    keys: parseWhole(args.keys, "--keys", 1, KEYS_MAX),
    requests: parseWhole(args.requests, "--requests", 1, REQUESTS_MAX),
    seed: parseWhole(args.seed, "--seed", 0, SEED_MAX),
    sizeMin,
    sizeMax,
  };
}

function kindsOf(text: string | undefined, made: GeneratedTrace | undefined): string[] {
  if (text === undefined) return kindsByDefault();
  const names = text === "all" ? kindNames() : parseList(text, "--policies");
  for (const name of names) checkKind(name);
  const isKept = made !== undefined && made.requests <= KEPT_MAX;
  return text === "all" && !isKept ? names.filter((name) => name !== BELADY) : names;
}

function planOf(paths: readonly string[], args: SimulateArgs): Plan {
  checkOneForm(args);
  const made = madeOf(args);
  if ((made === undefined) === (paths.length === 0)) {
    const message = "give either trace files, or --zipf or --shape for a synthetic trace";
    throw new ZcacheError("ERR_OPTION", message);
  }
  const budgets = parseList(args.memory, "--memory").map((one) => {
    const bytes = parseSizeIn(one, "--memory", MEMORY_MAX);
    if (bytes >= MEMORY_MIN) return bytes;
    throw new ZcacheError("ERR_OPTION", `--memory: ${one} is not allowed; write at least 64K`);
  });
  if (args.html !== undefined) checkFolder(args.html);
  return {
    paths,
    made,
    budgetsBytes: [...new Set(budgets)].sort((a, b) => a - b),
    kinds: kindsOf(args.policies, made),
    overheadBytes: parseWhole(args.overhead, "--overhead", 0, 2 ** 20),
    ratio: parseNumber(args.ratio, "--ratio", 1, 1000),
    warmup: parseWhole(args.warmup, "--warmup", 0, REQUESTS_MAX),
    json: args.json === true,
    csv: args.csv === true,
    html: args.html,
  };
}

async function feed(plan: Plan, simulation: Simulation): Promise<void> {
  const progress = new Progress();
  endOnSignals(() => progress.clear());
  const visit = (key: number, sizeBytes: number) => simulation.request(key, sizeBytes);
  const turn = async (share?: number) => {
    progress.update(share, `${count(simulation.requests)} requests`);
    await nextTurn();
  };
  try {
    for (const path of plan.paths) {
      try {
        await eachLine(
          path,
          (text, line) => readRequest(text, line, visit),
          () => turn(),
        );
      } catch (error) {
        if (!(error instanceof ZcacheError) || error.code !== "ERR_TRACE") throw error;
        throw new ZcacheError("ERR_TRACE", `${path}: ${error.message}`, { cause: error });
      }
    }
    if (plan.made === undefined) return;
    for (const done of generate(plan.made, visit)) await turn(done / plan.made.requests);
  } finally {
    progress.clear();
  }
}

function namesOf({ made, paths }: Plan): string[] {
  if (made === undefined) return [...paths];
  const { shape, exponent, keys } = made;
  return [`${shape}${shape === "loop" ? "" : ` ${exponent}`} over ${count(keys)} keys`];
}

async function run(paths: string[], args: SimulateArgs, version: string): Promise<void> {
  const plan = planOf(paths, args);
  const startedAt = performance.now();
  const simulation = new Simulation(plan);
  let report: SimulationReport;
  try {
    await feed(plan, simulation);
    report = {
      zcache: version,
      schema: 1,
      traces: namesOf(plan),
      requests: simulation.requests,
      warmup: plan.warmup,
      overhead_bytes: plan.overheadBytes,
      ratio: plan.ratio,
      results: simulation.result().map(resultOf),
      elapsed_seconds: (performance.now() - startedAt) / 1000,
    };
  } finally {
    simulation.close();
  }
  if (report.requests <= plan.warmup) {
    process.exitCode = EXIT_FAILED;
    complain(
      `nothing was measured: all ${report.requests} requests are within --warmup ${plan.warmup}`,
    );
  }
  if (plan.json) await writeJson(report);
  else if (plan.csv) await write(csvText(report.results));
  else if (report.requests > plan.warmup) await write(simulationText(report));
  if (plan.html !== undefined && report.requests > plan.warmup) {
    writePage(plan.html, simulationPage(report, chartLibrary()));
  }
}

export function simulateCommand(version: string): Command {
  return new Command("simulate")
    .description(summaryOf("simulate"))
    .argument("[traces...]", "files with lines TIME KEY SIZE or KEY SIZE, plain, .gz or .zst")
    .option("--zipf <exponent>", "use a synthetic trace whose keys follow a Zipf distribution")
    .option("--shape <name>", `use a synthetic trace: ${TRACE_SHAPES.join(", ")} (default: zipf)`)
    .option("--keys <number>", "synthetic trace: number of keys", "200000")
    .option("--requests <number>", "synthetic trace: number of requests", "2000000")
    .option("--sizes <range>", "synthetic trace: bytes of a value, MIN-MAX", "512-4480")
    .option("--seed <number>", "synthetic trace: the same seed makes the same trace", "1")
    .option("--memory <sizes>", "memory limits to simulate: SIZE[,SIZE…]", "64M")
    .option("--policies <names>", `NAME[,NAME…] or "all" (default: ${kindsByDefault().join(",")})`)
    .option("--overhead <bytes>", "metadata bytes for each value: key, entry, handle", "48")
    .option("--ratio <number>", "compression ratio of the values", "1")
    .option("--warmup <requests>", "requests at the beginning that are not counted", "0")
    .option("--json", "print the full report as JSON (see docs/cli.md)")
    .option("--csv", "print the results as CSV, with the names of the JSON's fields")
    .option("--html <file>", "also write a report with charts as an HTML file")
    .action((traces: string[], args: SimulateArgs) => run(traces, args, version));
}
