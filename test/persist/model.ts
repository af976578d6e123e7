// The calls of the child that is killed. Child and parent derive them from the same seed, so the
// child only has to report how many calls it has made.

/** Caches of one child, all of which are killed at once; and threads that use each. */
export const CACHES = 12;
export const THREADS = 2;
/** Maximum number of calls between two flushes. */
export const BATCH = 40;

export const OPTIONS = (folder: string, nth: number) => ({
  memoryMax: "16MiB",
  codec: nth % 2 === 0 ? "lz4" : "zstd",
  backgroundMs: 20,
  shards: nth % 3 === 0 ? 3 : 1,
  // So small that snapshots are written all the time.
  persist: { path: `${folder}/${nth}.zc`, max: "16MiB", flushMs: 2 },
});

export interface Call {
  readonly what: "set" | "delete" | "clear";
  readonly key: string;
  /** Of the value. */
  readonly bytes: number;
  readonly isShared: boolean;
}

/** The n-th call of a thread in a run. */
export function callOf(run: number, cache: number, thread: number, n: number): Call {
  const random = mix(mix(run * 31 + cache, thread), n);
  const isShared = random % 16 === 0;
  const number = (random >>> 4) % (isShared ? 8 : 40);
  const key = isShared ? `shared ${number}` : `${thread} has ${number}`;
  const what = !isShared && (random >>> 12) % 4 === 0 ? "delete" : "set";
  // Some values are longer than a page, which has 16 KiB.
  const bytes = (random >>> 16) % 24 === 0 ? 20_000 + (random >>> 20) * 10 : (random >>> 18) % 1500;
  return { what, key, bytes, isShared };
}

/** The value that a call sets; it names the call, and all of its bytes are determined. */
export function valueSetBy(run: number, thread: number, n: number, { key, bytes }: Call): string {
  const name = `${run}/${thread}/${n}/${key}/`;
  const unit = `${name}${mix(n, thread).toString(36)} `;
  return name + unit.repeat(Math.ceil(bytes / unit.length));
}

export function parseValue(value: string) {
  const [run, thread, n, key] = value.split("/");
  return { run: Number(run), thread: Number(thread), n: Number(n), key: key! };
}

function mix(a: number, b: number): number {
  let hash = Math.imul(a ^ (b + 0x9e37_79b9), 0x85eb_ca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2_ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
