// A thread that fetches keys as a test tells it to, and reports the progress of its loads.
import { parentPort, workerData } from "node:worker_threads";
import { Cache, type CacheShare, ZcacheError } from "../../src/index.ts";

/** Messages to the thread. */
export interface Order {
  /**
   * What the loader does when its key's "end" comes: gives a value, throws, or asks for `also`.
   * "abort": it asks for its signal too, and "stop" ends the request.
   */
  readonly how: "value" | "failure" | "also" | "abort";
  readonly key: string;
  readonly also?: string;
}

/** Messages of the thread: a loader was called, or a fetch has ended. */
export interface Report {
  readonly key: string;
  readonly begun?: boolean;
  readonly value?: string;
  readonly code?: unknown;
  readonly message?: string;
}

const cache = Cache.attach<string, string>((workerData as { share: CacheShare }).share);
const port = parentPort!;
const tell = (report: Report) => port.postMessage(report);
const ends = new Map<string, () => void>();

async function load({ key, how, also }: Order, context: { signal: AbortSignal }): Promise<string> {
  const ending = new Promise<void>((resolve) => ends.set(key, resolve));
  if (how === "abort") context.signal.addEventListener("abort", () => tell({ key, code: "told" }));
  tell({ key, begun: true });
  await ending;
  if (how === "failure") {
    throw new ZcacheError("ERR_IO", `no ${key}`, {
      context: { key },
      cause: new RangeError("below"),
    });
  }
  return also === undefined ? `${key} of a worker` : cache.fetch(also, () => "not to be called");
}

const stop = new AbortController();

port.on("message", (order: Order | { readonly end: string } | "detach" | "stop") => {
  if (order === "detach") {
    cache.detach();
    process.exit(0);
  } else if (order === "stop") stop.abort();
  else if ("end" in order) ends.get(order.end)?.();
  else {
    const options = order.how === "abort" ? { signal: stop.signal } : {};
    cache
      .fetch(order.key, (_key, context) => load(order, context), options)
      .then(
        (value) => tell({ key: order.key, value }),
        (error) => tell({ key: order.key, code: error.code ?? error.name, message: error.message }),
      );
  }
});
port.postMessage({ key: "", begun: true } satisfies Report);
