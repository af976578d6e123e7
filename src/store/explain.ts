// Explains where a page is stored, or why it is not: for people, and for tests that tell one reason
// from another.
import { NIL } from "../base/brand.ts";
import * as Entry from "../tmem/entry.layout.ts";
import type { TmemKey } from "../tmem/key.ts";
import { REASONS } from "./counters.ts";
import * as Page from "./page.layout.ts";
import { slotOf } from "./record.ts";
import type { StoreState } from "./state.ts";
import * as Store from "./store.layout.ts";

/** "in transit": on its way to the remote tier, and still readable here. */
type Where = "memory" | "same-filled" | "file" | "remote" | "in transit";

export type Explanation =
  | {
      readonly stored: true;
      readonly where: Where;
      readonly kind: "ephemeral" | "persistent";
      /** Bytes of the page, uncompressed. */
      readonly pageBytes: number;
      readonly storedBytes: number;
      /** The codec's name; "none" for a page stored raw. */
      readonly codec: string;
      /** Ticks of the store's clock since the page was last used, modulo 128. */
      readonly ageTicks: number;
      /** Whether the page may be evicted. */
      readonly evictable: boolean;
    }
  | { readonly stored: false; readonly reason: string };

const WHERE: readonly Where[] = ["remote", "memory", "same-filled", "file"];

function codecName({ options }: StoreState, codec: number): string {
  return codec === Page.DENSE ? options.recompress!.codec : options.codec;
}

function isInTransit({ words }: StoreState, entry: number, meta: number): boolean {
  return Page.whereOf(meta) === Page.REMOTE && slotOf(words[entry + Entry.LINKS]!) !== NIL;
}

/** Under the arena's lock. */
export function explainLocked(state: StoreState, pool: number, key: TmemKey): Explanation {
  const entry = state.index.find(pool, key);
  if (entry < 0) {
    const reason = state.missReasonLocked(state.hash(pool, key));
    return { stored: false, reason: REASONS[reason] ?? REASONS[0] };
  }
  const meta = state.words[entry + Entry.META]!;
  const kind = Page.kindOf(meta);
  const tick = state.words[state.root + Store.TICK]!;
  const codec = Page.codecOf(meta);
  return {
    stored: true,
    where: isInTransit(state, entry, meta) ? "in transit" : WHERE[Page.whereOf(meta)]!,
    kind: kind === Store.PERSISTENT ? "persistent" : "ephemeral",
    pageBytes: state.pageSize,
    storedBytes: Page.sizeOf(meta),
    codec: codec === Page.RAW ? "none" : codecName(state, codec),
    ageTicks: (tick - Page.tickOf(meta)) & (Page.AGES - 1),
    evictable: Page.isListed(meta) && (kind === Store.EPHEMERAL || state.mayLeave(kind)),
  };
}
