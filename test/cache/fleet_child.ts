// One machine of a fleet, as a process: does what the test asks for by messages.
import { Cache } from "../../src/index.ts";

/** What the test asks for. */
export type FleetRequest =
  | { readonly open: readonly string[] }
  | { readonly fetch: number; readonly from: number }
  | { readonly set: string; readonly value: string }
  | { readonly read: string }
  | { readonly count: number };

export function documentOf(nth: number): unknown {
  const lines = Array.from({ length: 6 }, (_, line) => ({ item: `item ${(nth * 7 + line) % 97}` }));
  return {
    id: nth,
    kind: "invoice",
    customer: { name: `customer ${nth % 311}`, country: "DE" },
    lines,
  };
}

const keyOf = (nth: number) => `doc:${nth}`;

let cache: Cache<string, unknown>;
let loads = 0;

const loader = async (key: string) => {
  loads++;
  return documentOf(Number(key.slice(4)));
};

async function answer(request: FleetRequest): Promise<unknown> {
  if ("open" in request) {
    const remote = {
      nodes: request.open,
      prefix: "fleet",
      mode: "shared",
      timeoutMs: 120_000,
    } as const;
    cache = Cache.create<string, unknown>({ memoryMax: "64MiB", remote });
    return true;
  }
  if ("fetch" in request) {
    loads = 0;
    const { fetch: count, from } = request;
    const order = Array.from({ length: count }, (_, nth) => (nth + from) % count);
    const batch = 100;
    for (let at = 0; at < count; at += batch) {
      const some = order.slice(at, at + batch);
      const values = await Promise.all(some.map((nth) => cache.fetch(keyOf(nth), loader)));
      for (const [i, nth] of some.entries()) {
        const { id } = values[i] as { id: number };
        if (id !== nth) throw new Error(`document ${nth} is ${id}`);
      }
    }
    return loads;
  }
  if ("set" in request) return cache.setAsync(request.set, request.value);
  if ("read" in request) {
    await cache.fleet!.shared.sync();
    return cache.getAsync(request.read);
  }
  let copies = 0;
  for (let nth = 0; nth < request.count; nth++) if (cache.has(keyOf(nth))) copies++;
  return copies;
}

process.on("message", (request: FleetRequest) => {
  answer(request).then(
    (result) => process.send!({ result }),
    (error: unknown) => process.send!({ error: String(error) }),
  );
});
