// How long gets of pages in memory take while 20,000 pages a second go to the cluster, and while
// none do: another thread reads pages that are in memory, with a clock around each get, and both
// kinds of windows take turns.
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { median } from "../codec/timing.ts";
import type { GetsReport, GetsWork } from "./gets_lane.ts";
import { BenchedTier, benchCluster } from "./tier.ts";

const EXTENSION = import.meta.url.endsWith(".ts") ? "ts" : "js";
const LANE = new URL(`./gets_lane.${EXTENSION}`, import.meta.url);
const PAGES_PER_SECOND = 20_000;
const TURN_MS = 5;
/** Pages that the other thread reads: they stay in memory, because they are read. */
const HOT_PAGES = 256;

export interface RemoteGetsRow {
  readonly sends: boolean;
  /** Pages that went out, a second. */
  readonly sentPerSecond: number;
  readonly p50Ns: number;
  readonly p99Ns: number;
  readonly p999Ns: number;
  readonly gets: number;
}

export interface RemoteGetsOptions {
  readonly tiny?: boolean;
  readonly print?: (line: string) => void;
}

export async function benchRemoteGets(
  options: RemoteGetsOptions = {},
): Promise<readonly RemoteGetsRow[]> {
  const { tiny = false, print = console.log } = options;
  const { memoryMib, ms, rounds } = tiny
    ? { memoryMib: 8, ms: 200, rounds: 1 }
    : { memoryMib: 64, ms: 3000, rounds: 5 };
  const cluster = await benchCluster();
  const tier = await BenchedTier.open(cluster, { memoryMib });
  const lane = new Worker(LANE);
  try {
    await tier.put(memoryMib * 600);
    await tier.arrived();
    const windows: RemoteGetsRow[] = [];
    for (let round = 0; round < rounds; round++) {
      for (const sends of [false, true]) windows.push(await window(tier, lane, ms, sends));
    }
    const rows = [false, true].map((sends) => summary(windows.filter((w) => w.sends === sends)));
    print("| pages out a second | p50 of a get, ns | p99 | p99.9 |");
    print("|--:|--:|--:|--:|");
    for (const { sentPerSecond, p50Ns, p99Ns, p999Ns } of rows) {
      print(`| ${[sentPerSecond, p50Ns, p99Ns, p999Ns].map(Math.round).join(" | ")} |`);
    }
    const pairs = windows.filter(({ sends }) => sends);
    const ratios = pairs.map(({ p99Ns }, nth) => p99Ns / windows[2 * nth]!.p99Ns);
    print(`p99 while pages go out to that while none do: ${median(ratios).toFixed(2)}`);
    return rows;
  } finally {
    await lane.terminate();
    tier.close();
    await cluster.end();
  }
}

async function window(
  tier: BenchedTier,
  lane: Worker,
  ms: number,
  sends: boolean,
): Promise<RemoteGetsRow> {
  const hot = Array.from({ length: HOT_PAGES }, (_, nth) => tier.pages - HOT_PAGES + nth);
  await tier.use(hot);
  const work: GetsWork = { share: tier.store.share(), pool: tier.pool, pages: hot, ms };
  const before = tier.sent;
  lane.postMessage(work);
  let isOver = false;
  const answer = once(lane, "message").then(([report]) => {
    isOver = true;
    return report as GetsReport;
  });
  const begin = performance.now();
  for (let put = 0; !isOver; ) {
    const due = sends ? Math.floor(((performance.now() - begin) / 1000) * PAGES_PER_SECOND) : 0;
    const count = Math.min(due - put, PAGES_PER_SECOND / 100);
    put = due;
    await tier.put(Math.max(0, count));
    await new Promise((done) => setTimeout(done, TURN_MS));
  }
  const report = await answer;
  const sentPerSecond = ((tier.sent - before) / (performance.now() - begin)) * 1000;
  await tier.arrived();
  return { sends, sentPerSecond, ...report };
}

function summary(windows: readonly RemoteGetsRow[]): RemoteGetsRow {
  const of = (figure: Exclude<keyof RemoteGetsRow, "sends">) =>
    median(windows.map((window) => window[figure]));
  return {
    ...{ sends: windows[0]!.sends, sentPerSecond: of("sentPerSecond"), gets: of("gets") },
    ...{ p50Ns: of("p50Ns"), p99Ns: of("p99Ns"), p999Ns: of("p999Ns") },
  };
}
