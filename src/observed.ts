// Services over a store, as the web page and the metrics see them.
import type { Observed } from "./server/web/observed.ts";
import type { Store } from "./store/store.ts";
import type { Connections } from "./wire/web/api.ts";

/** What a service knows that its store does not. */
export interface ServiceParts {
  readonly name: string;
  readonly kind: "nbd" | "memcached";
  readonly store: Store;
  /** Operations by the service's names, since its start. */
  operations(): Readonly<Record<string, number>>;
  /** Look-ups; by default those of the store. */
  lookups?(): { readonly hits: number; readonly misses: number };
  connections(): Connections;
}

export function observe(_parts: ServiceParts): Observed {
  throw new Error("to come");
}
