// Prometheus metrics: format, naming rules, and agreement with the statistics of the stores.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { WebServer } from "../../src/monitor/web/server.ts";
import type { StoreStats } from "../../src/store/statistics.ts";
import {
  fillDevice,
  type MemcachedFixture,
  type NbdFixture,
  setDocuments,
  startMemcached,
  startNbd,
  startWeb,
} from "./fixture.ts";

interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

interface Family {
  readonly type: string;
  readonly help: string;
  readonly samples: Sample[];
}

/** Reads the text, strictly. */
function parse(text: string): Map<string, Family> {
  const families = new Map<string, Family>();
  let family: Family | undefined;
  let help = "";
  for (const line of text.split("\n")) {
    if (line === "") continue;
    const about = /^# (HELP|TYPE) ([a-z_:][a-z0-9_:]*) (.+)$/.exec(line);
    if (about !== null) {
      if (about[1] === "HELP") help = about[3]!;
      else {
        assert.ok(!families.has(about[2]!), `${about[2]} stands there once`);
        family = { type: about[3]!, help, samples: [] };
        families.set(about[2]!, family);
      }
      continue;
    }
    const sample = /^([a-z_:][a-z0-9_:]*)(?:\{(.*)\})? (\S+)$/.exec(line);
    assert.ok(sample, `a line of the format: ${line}`);
    const labels = [...(sample[2] ?? "").matchAll(/([a-z_]+)="((?:[^"\\]|\\.)*)"(?:,|$)/g)];
    const value = Number(sample[3]);
    assert.ok(Number.isFinite(value), line);
    family!.samples.push({
      ...{ name: sample[1]!, value },
      labels: Object.fromEntries(labels.map(([, name, text]) => [name!, text!])),
    });
  }
  return families;
}

const folderOfDocs = new URL(
  import.meta.url.endsWith(".ts") ? "../../docs/" : "../../../docs/",
  import.meta.url,
);

let nbd: NbdFixture;
let memcached: MemcachedFixture;
let web: WebServer;
let families: Map<string, Family>;
/** Of both stores, when the metrics were read. */
let statistics: readonly StoreStats[];

/** Metrics are of a state that is at most a fifth of a second old. */
const STATE_AGE_MS = 250;

const statisticsNow = () => [nbd, memcached].map(({ store }) => store.stats());

/** What background work may change between two looks. */
const changing = (stats: readonly StoreStats[]) =>
  JSON.stringify(
    stats.map(({ orig_data_size, compr_data_size, mem_used_total, memory, latency }) => [
      ...[orig_data_size, compr_data_size, mem_used_total, memory, latency.put.count],
    ]),
  );

async function scrape(): Promise<Map<string, Family>> {
  const response = await fetch(`${web.url}metrics`);
  assert.match(response.headers.get("content-type")!, /^text\/plain; version=0\.0\.4/);
  return parse(await response.text());
}

before(async () => {
  nbd = await startNbd();
  fillDevice(nbd, 700);
  const page = new Uint8Array(4096);
  for (let nth = 0; nth < 900; nth++) nbd.device.read(nth * 4096, page);
  memcached = await startMemcached();
  await setDocuments(memcached, 0, 500);
  await memcached.client.ask("get doc:1 doc:2 nothing\r\n", "END\r\n");
  web = await startWeb([nbd.monitor, memcached.monitor]);
  let earlier = "";
  do {
    earlier = changing(statisticsNow());
    await sleep(STATE_AGE_MS);
    families = await scrape();
    statistics = statisticsNow();
  } while (changing(statistics) !== earlier);
});

after(async () => {
  await web.close();
  await memcached.close();
  await nbd.close();
});

/** The value of the one series of that name and those labels. */
function figureOf(name: string, labels: Readonly<Record<string, string>>): number {
  const family = families.get(name.replace(/_(bucket|sum|count)$/, "")) ?? families.get(name);
  const all = family?.samples.filter(
    (sample) =>
      sample.name === name &&
      Object.entries(labels).every(([label, value]) => sample.labels[label] === value),
  );
  assert.equal(all?.length, 1, `${name} ${JSON.stringify(labels)}`);
  return all[0]!.value;
}

test("names, types and units follow Prometheus's conventions", () => {
  for (const [name, { type, help, samples }] of families) {
    assert.match(name, /^(zcache|process)_/);
    assert.ok(help.length > 5, name);
    assert.equal(type === "counter", name.endsWith("_total"), `${name} is a ${type}`);
    assert.doesNotMatch(name, /_(kb|mib|ms|ns|us|percent)(_|$)/);
    assert.ok(type === "histogram" || samples.length <= 32, `${name}: labels are few`);
  }
});

test("the metrics equal the statistics of the stores", () => {
  for (const [nth, { monitor }] of [nbd, memcached].entries()) {
    const service = monitor.name;
    const stats = statistics[nth]!;
    assert.equal(figureOf("zcache_logical_bytes", { service }), stats.orig_data_size);
    assert.equal(figureOf("zcache_compressed_bytes", { service }), stats.compr_data_size);
    assert.equal(figureOf("zcache_memory_used_bytes", { service }), stats.mem_used_total);
    assert.equal(figureOf("zcache_memory_limit_bytes", { service }), stats.mem_limit);
    const parts = families.get("zcache_memory_part_bytes")!.samples;
    const sum = parts
      .filter(({ labels }) => labels["service"] === service)
      .reduce((all, { value }) => all + value, 0);
    assert.equal(sum, stats.mem_used_total);
    for (const [lock, { contended, slept }] of Object.entries(stats.locks)) {
      // Threads may have waited since the scrape.
      assert.ok(figureOf("zcache_lock_waits_total", { service, lock }) <= contended);
      assert.ok(figureOf("zcache_lock_sleeps_total", { service, lock }) <= slept);
    }
    const count = stats.latency.put.count;
    assert.equal(
      figureOf("zcache_latency_seconds_count", { service, operation: "store_put" }),
      count,
    );
  }
  const same = { service: "nbd", place: "same_filled" };
  assert.equal(figureOf("zcache_entries", same), nbd.store.stats().same_pages);
  assert.equal(figureOf("zcache_operations_total", { service: "nbd", operation: "read" }), 900);
  assert.equal(figureOf("zcache_hits_total", { service: "memcached" }), 2);
  assert.equal(figureOf("zcache_misses_total", { service: "memcached" }), 1);
  assert.equal(
    figureOf("zcache_operations_total", { service: "memcached", operation: "set" }),
    500,
  );
  assert.equal(figureOf("zcache_connections", { service: "memcached" }), 1);
});

test("the buckets of a histogram add up to its count", () => {
  const { samples } = families.get("zcache_latency_seconds")!;
  const ofGets = samples.filter(
    ({ labels }) => labels["service"] === "nbd" && labels["operation"] === "store_get",
  );
  const buckets = ofGets.filter(({ name }) => name.endsWith("_bucket"));
  const bounds = buckets.map(({ labels }) => Number(labels["le"]!.replace("+Inf", "Infinity")));
  assert.deepEqual(
    bounds,
    [...bounds].sort((a, b) => a - b),
  );
  assert.equal(bounds.at(-1), Number.POSITIVE_INFINITY);
  for (let nth = 1; nth < buckets.length; nth++) {
    assert.ok(buckets[nth]!.value >= buckets[nth - 1]!.value);
  }
  const count = ofGets.find(({ name }) => name.endsWith("_count"))!.value;
  const sum = ofGets.find(({ name }) => name.endsWith("_sum"))!.value;
  assert.equal(buckets.at(-1)!.value, count);
  assert.ok(count > 10 && sum > 0 && sum / count < 0.1, `${sum} s in ${count}`);
});

test("docs/dashboard.md lists exactly these metrics", () => {
  const docs = readFileSync(new URL("dashboard.md", folderOfDocs), "utf8");
  const listed = new Set(docs.match(/`(zcache|process)_[a-z_]+/g)?.map((name) => name.slice(1)));
  assert.deepEqual([...listed].sort(), [...families.keys()].sort());
});

test("two scrapes have the same metrics", async () => {
  assert.deepEqual([...(await scrape()).keys()], [...families.keys()]);
});
