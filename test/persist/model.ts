// What the child does that is killed, and what the parent knows of it: both derive every call from
// a seed, so that the child has to tell no more than how far it came.

/** Caches in one child, so that one death is that of many; and threads that use each. */
export const CACHES = 12;
export const THREADS = 2;
/** Calls between two flushes at most: of more than that it is known that they were done. */
export const BATCH = 40;

export const OPTIONS = (folder: string, nth: number) => ({
  memoryMax: "16MiB",
  codec: nth % 2 === 0 ? "lz4" : "zstd",
  backgroundMs: 20,
  // So little that snapshots are written all the time.
  persist: { path: `${folder}/${nth}.zc`, max: "16MiB", flushMs: 2 },
});

export interface Call {
  readonly what: "set" | "delete" | "clear";
  readonly key: string;
  /** Of the value. */
  readonly bytes: number;
  readonly isShared: boolean;
}

/** The n-th call of a thread in a run: always the same. */
export function callOf(run: number, cache: number, thread: number, n: number): Call {
  const random = mix(mix(run * 31 + cache, thread), n);
  const isShared = random % 16 === 0;
  const number = (random >>> 4) % (isShared ? 8 : 40);
  const key = isShared ? `shared ${number}` : `${thread} has ${number}`;
  const what = !isShared && (random >>> 12) % 4 === 0 ? "delete" : "set";
  // Some have parts: a page has 16 KiB.
  const bytes = (random >>> 16) % 24 === 0 ? 20_000 + (random >>> 20) * 10 : (random >>> 18) % 1500;
  return { what, key, bytes, isShared };
}

/** The value that a call sets: it says whose it is, and every byte of it is known. */
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
