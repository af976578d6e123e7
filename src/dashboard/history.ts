// The history of a service: its last 300 samples, and the rates between each two of them. The
// daemon only keeps counters, so pages do not disturb each other.
import type { Latency, ServicePicture } from "./api.ts";

/** One sample of a service, with the changes since the sample before. */
export interface Moment {
  readonly atMs: number;
  readonly picture: ServicePicture;
  /** Seconds since the sample before; 0 for the first sample. */
  readonly seconds: number;
  /** Per second, by operation. */
  readonly rates: Readonly<Record<string, number>>;
  readonly operations: number;
  /** Hits per look-up, 0 … 1; undefined without look-ups. */
  readonly hitRate: number | undefined;
  readonly evictions: number;
  readonly writtenBack: number;
  /** Latency of the operations measured since, by operation. */
  readonly latency: Readonly<Record<string, Latency>>;
}

const MOMENTS_MAX = 300;

export class History {
  readonly moments: Moment[] = [];

  /** Adds a sample. */
  add(atMs: number, picture: ServicePicture): Moment {
    const before = this.moments.at(-1);
    // A restarted daemon counts from 0.
    const isNew = before === undefined || hasRestarted(before.picture, picture);
    if (isNew) this.moments.length = 0;
    const moment = isNew ? first(atMs, picture) : since(before, atMs, picture);
    this.moments.push(moment);
    if (this.moments.length > MOMENTS_MAX) this.moments.shift();
    return moment;
  }
}

function hasRestarted(before: ServicePicture, now: ServicePicture): boolean {
  return (
    sumOf(now.operations) < sumOf(before.operations) ||
    now.connections.accepted < before.connections.accepted
  );
}

function first(atMs: number, picture: ServicePicture): Moment {
  const none = { seconds: 0, rates: {}, operations: 0, evictions: 0, writtenBack: 0 };
  return { atMs, picture, ...none, hitRate: undefined, latency: {} };
}

function since(before: Moment, atMs: number, picture: ServicePicture): Moment {
  const seconds = Math.max(0.001, (atMs - before.atMs) / 1000);
  const old = before.picture;
  const rates = Object.fromEntries(
    Object.entries(picture.operations).map(([name, number]) => [
      name,
      Math.max(0, number - (old.operations[name] ?? 0)) / seconds,
    ]),
  );
  const hits = picture.hits - old.hits;
  const lookups = hits + picture.misses - old.misses;
  return {
    ...{ atMs, picture, seconds, rates },
    operations: sumOf(rates),
    hitRate: lookups > 0 ? Math.max(0, hits) / lookups : undefined,
    evictions: Math.max(0, sumOf(picture.evictions) - sumOf(old.evictions)) / seconds,
    writtenBack: Math.max(0, picture.writeBack.writtenBytes - old.writeBack.writtenBytes) / seconds,
    latency: Object.fromEntries(
      Object.entries(picture.latency).map(([name, latency]) => [
        name,
        latencySince(old.latency[name] ?? [], latency),
      ]),
    ),
  };
}

export function sumOf(numbers: Readonly<Record<string, number>>): number {
  return Object.values(numbers).reduce((sum, n) => sum + n, 0);
}

/** The difference of two histograms. */
export function latencySince(before: Latency, now: Latency): Latency {
  const old = new Map(before);
  const added = now.map(([upTo, n]) => [upTo, n - (old.get(upTo) ?? 0)] as const);
  return added.filter(([, n]) => n > 0);
}

/** The sum of several histograms. */
export function latencySum(all: readonly Latency[]): Latency {
  const sum = new Map<number, number>();
  for (const latency of all) {
    for (const [upTo, n] of latency) sum.set(upTo, (sum.get(upTo) ?? 0) + n);
  }
  return [...sum].sort(([a], [b]) => a - b);
}
