// `zcache analyze`: measures on files or processes what compression would save, for each codec and
// pool.

import { availableParallelism } from "node:os";
import { setImmediate as nextTurn } from "node:timers/promises";
import { Command } from "commander";
import { ZcacheError } from "../base/errors.ts";
import { printable } from "../base/printable.ts";
import { formatBytes, MIB } from "../base/units.ts";
import type { Analysis, Report } from "../lab/analysis.ts";
import {
  Analyzer,
  type CodecChoice,
  WINDOW_BYTES_DEFAULT,
  WINDOW_BYTES_MAX,
} from "../lab/analyzer.ts";
import { Feed, SAMPLE_PAGES_MAX, SkipList } from "../lab/feed.ts";
import type { PoolChoice, Work } from "../lab/pool_lane.ts";
import { recommend } from "../lab/recommend.ts";
import { htmlReport } from "../lab/report/html.ts";
import { textReport } from "../lab/report/text.ts";
import { chartLibrary } from "../node/chart_library.ts";
import { nodeCodecs } from "../node/codecs.ts";
import { rawArguments, shownPath, walkPaths } from "../node/inputs.ts";
import { listProcesses, walkProcesses } from "../node/processes.ts";
import { createPool, findPoolDriver, poolTypes } from "../pool/registry.ts";
import { WorkerLane } from "./analyze_lane.ts";
import { checkOneForm, csvText } from "./csv.ts";
import { complain, EXIT_FAILED, endOnSignals } from "./exit.ts";
import { parseList, parsePageSize, parseSizeIn, parseWhole } from "./options.ts";
import { checkFolder, write, writeJson, writePage } from "./output.ts";
import { Progress } from "./progress.ts";
import { summaryOf } from "./summaries.ts";

/** A fast codec and a dense one: a quick run that shows both ends. */
const CODECS_DEFAULT = ["lz4", "zstd"];
/** One thread for the codecs, one for the pools. */
const THREADS_MAX = 2;
const PID_MAX = 2 ** 22;
const SEED_MAX = 2 ** 32 - 1;
/** The time between two turns for signals and the progress bar. */
const TURN_MS = 40;
/** The most skipped inputs that are named on stderr. */
const SKIPS_SHOWN = 10;

interface AnalyzeArgs {
  readonly codec?: string;
  readonly pool?: string;
  readonly pageSize: string;
  readonly sample?: string;
  readonly seed: string;
  readonly limit?: string;
  readonly window?: string;
  readonly threads?: string;
  readonly pid?: string;
  readonly allProcesses?: true;
  readonly json?: true;
  readonly csv?: true;
  readonly html?: string;
}

/** The checked arguments. */
interface Plan {
  readonly codecs: readonly CodecChoice[];
  readonly pools: readonly PoolChoice[];
  readonly pageSize: number;
  readonly windowBytes: number;
  readonly samplePages: number | undefined;
  readonly limitBytes: number | undefined;
  readonly seed: number;
  readonly threads: number;
  /** Bytes, because a file name need not be valid text. */
  readonly paths: readonly Buffer[];
  readonly pids: readonly number[] | "all";
  readonly json: boolean;
  readonly csv: boolean;
  readonly html: string | undefined;
}

async function chooseCodecs(text: string | undefined): Promise<CodecChoice[]> {
  const registry = await nodeCodecs();
  const listings = registry.list();
  const usable = listings.filter((one) => one.available).map((one) => one.name);
  let names = CODECS_DEFAULT.filter((name) => usable.includes(name));
  if (text === "all") names = usable;
  else if (text !== undefined) names = parseList(text, "--codec");
  for (const name of names) {
    const listing = listings.find((one) => one.name === name);
    if (listing === undefined) {
      const known = listings.map((one) => one.name).join(", ");
      throw new ZcacheError(
        "ERR_CODEC_UNKNOWN",
        `--codec: there is no codec "${name}"; write ${known}, or all`,
      );
    }
    if (listing.available) continue;
    const { reason, remedy } = listing;
    const message = `--codec: ${name} is not available: ${reason}; ${remedy}`;
    throw new ZcacheError("ERR_CODEC_UNAVAILABLE", message);
  }
  return names.map((name) => ({ name, create: (memory) => registry.create(name, memory) }));
}

function choosePools(text: string | undefined): PoolChoice[] {
  let names = poolTypes();
  if (text === "all") names = poolTypes(true);
  else if (text !== undefined) names = parseList(text, "--pool");
  for (const name of names) findPoolDriver(name);
  return names.map((name) => ({ name, create: (arena) => createPool(name, arena) }));
}

async function planOf(paths: string[], args: AnalyzeArgs): Promise<Plan> {
  checkOneForm(args);
  const pids = args.pid === undefined ? [] : parseList(args.pid, "--pid");
  if (paths.length === 0 && pids.length === 0 && !args.allProcesses) {
    throw new ZcacheError(
      "ERR_OPTION",
      "nothing to analyze: name files or folders, or give --pid N or --all-processes",
    );
  }
  const plan: Plan = {
    codecs: await chooseCodecs(args.codec),
    pools: choosePools(args.pool),
    pageSize: parsePageSize(args.pageSize),
    windowBytes:
      args.window === undefined
        ? WINDOW_BYTES_DEFAULT
        : parseSizeIn(args.window, "--window", WINDOW_BYTES_MAX),
    samplePages:
      args.sample === undefined
        ? undefined
        : parseWhole(args.sample, "--sample", 1, SAMPLE_PAGES_MAX),
    limitBytes: args.limit === undefined ? undefined : parseSizeIn(args.limit, "--limit"),
    seed: parseWhole(args.seed, "--seed", 0, SEED_MAX),
    threads:
      args.threads === undefined
        ? Math.min(THREADS_MAX, availableParallelism())
        : parseWhole(args.threads, "--threads", 1, THREADS_MAX),
    paths: rawArguments(paths),
    pids: args.allProcesses ? "all" : pids.map((pid) => parseWhole(pid, "--pid", 1, PID_MAX)),
    json: args.json === true,
    csv: args.csv === true,
    html: args.html,
  };
  if (plan.html !== undefined) checkFolder(plan.html);
  return plan;
}

function feedOf(analyzer: Analyzer, plan: Plan): Feed {
  const skips = new SkipList();
  const { paths, pids, pageSize } = plan;
  const sources = [
    ...paths.map((path) => printable(shownPath(path))),
    ...(pids === "all" ? ["all processes"] : pids.map((pid) => `process ${pid}`)),
  ];
  return new Feed(analyzer, {
    sources,
    skips,
    seed: plan.seed,
    limitBytes: plan.limitBytes,
    samplePages: plan.samplePages,
    *pieces() {
      yield* walkPaths(paths, skips);
      yield* walkProcesses(pids === "all" ? listProcesses() : pids, pageSize, skips);
    },
  });
}

/** Runs the work, with regular turns of the event loop for signals and the progress bar. */
async function drive(work: Work, onTurn: () => void): Promise<void> {
  let turnAt = performance.now();
  for (const wait of work) {
    if (wait !== undefined) await wait;
    if (performance.now() - turnAt < TURN_MS) continue;
    onTurn();
    await nextTurn();
    turnAt = performance.now();
  }
}

async function measure(plan: Plan, version: string): Promise<Report> {
  const startedAt = performance.now();
  const progress = new Progress();
  endOnSignals(() => progress.clear());
  const names = plan.pools.map(({ name }) => name);
  const analyzer = new Analyzer(
    plan.threads === 1 ? plan : { ...plan, lane: (memory) => new WorkerLane(memory, names) },
  );
  const feed = feedOf(analyzer, plan);
  const onTurn = () => {
    const pages = analyzer.pagesDone + analyzer.window.pages * analyzer.stepShare;
    const done = pages * plan.pageSize;
    const share = feed.bytesExpected === undefined ? undefined : done / feed.bytesExpected;
    progress.update(share, `${formatBytes(feed.bytesRead)} read  ${analyzer.step}`);
  };
  let analysis: Analysis;
  try {
    // Counting walks the inputs once more, so it is done only for a visible progress bar.
    if (progress.active && plan.samplePages === undefined) await drive(feed.count(), onTurn);
    await drive(feed.run(), onTurn);
    analysis = await analyzer.result();
  } finally {
    progress.clear();
    // Also after a failure, because the lane's thread would keep the process alive.
    analyzer.close();
  }
  return {
    zcache: version,
    schema: 1,
    input: feed.summary(),
    ...analysis,
    elapsed_seconds: (performance.now() - startedAt) / 1000,
    max_rss_bytes: process.resourceUsage().maxRSS * 1024,
    recommendation: recommend(analysis),
  };
}

function complainOfSkips({ input }: Report): void {
  for (const { name, reason } of input.skipped.slice(0, SKIPS_SHOWN)) {
    complain(`not read: ${name}: ${reason}`);
  }
  const more = input.skipped_count - SKIPS_SHOWN;
  if (more > 0) complain(`not read: ${more} more (--json lists up to 1000)`);
  if (input.links > 0) complain(`symbolic links not followed: ${input.links}`);
  if (input.empty > 0) complain(`empty files: ${input.empty}`);
}

async function run(paths: string[], args: AnalyzeArgs, version: string): Promise<void> {
  const plan = await planOf(paths, args);
  const report = await measure(plan, version);
  complainOfSkips(report);
  if (report.pages === 0) {
    process.exitCode = EXIT_FAILED;
    complain("nothing was measured: the inputs have no page");
  }
  if (plan.json) await writeJson(report);
  else if (plan.csv) await write(csvText(report.results));
  else if (report.pages > 0) await write(textReport(report));
  if (plan.html !== undefined && report.pages > 0) {
    writePage(plan.html, htmlReport(report, chartLibrary()));
  }
}

export function analyzeCommand(version: string): Command {
  return new Command("analyze")
    .description(summaryOf("analyze"))
    .argument("[paths...]", "files and folders (read recursively)")
    .option("--pid <pids>", "analyze anonymous memory of these processes: N[,N…]")
    .option("--all-processes", "analyze anonymous memory of all processes that you may read")
    .option("--codec <names>", `NAME[,NAME…] or "all" (default: ${CODECS_DEFAULT.join(",")})`)
    .option("--pool <names>", 'NAME[,NAME…] or "all" (default: all except variants)')
    .option("--page-size <size>", "page size: 4K, 8K, 16K, 32K or 64K", "4K")
    .option("--sample <pages>", "analyze only this many pages, drawn at random from all inputs")
    .option("--seed <number>", "seed of --sample; the same seed draws the same pages", "1")
    .option("--limit <size>", "stop after this many bytes of input")
    .option(
      "--window <size>",
      `bytes of input held in memory at a time (default: ${WINDOW_BYTES_DEFAULT / MIB}M)`,
    )
    .option("--threads <number>", "1: run codecs and pools in turn; 2: in parallel (default)")
    .option("--json", "print the full report as JSON (see docs/cli.md)")
    .option("--csv", "print a row for each codec and pool as CSV, named as in the JSON")
    .option("--html <file>", "also write a report with charts as an HTML file")
    .action((paths: string[], args: AnalyzeArgs) => run(paths, args, version));
}
