// What waits for the log of changes is written when the process ends and nobody has closed the
// cache.
import { assert, ZcacheError } from "../base/errors.ts";
import { attachStore } from "../node/stores.ts";
import { ChangeLog } from "../store/change_log.ts";
import type { StoreShare } from "../store/store.ts";
import { restartWriter } from "./files.ts";

/** Something that has changes to write. */
interface Flushed {
  /** @throws ZcacheError ERR_IO */
  flush(): void;
}

/** Those of this process that are to be written at its end. */
export const exitFlushes = new Set<Flushed>();
let isWatching = false;

/** Calls `flush` when the process ends, unless it is deleted from `exitFlushes` before. */
export function flushAtExit(flushed: Flushed): void {
  exitFlushes.add(flushed);
  if (isWatching) return;
  isWatching = true;
  process.on("exit", () => {
    for (const one of exitFlushes) {
      try {
        one.flush();
      } catch (error) {
        assert(error instanceof ZcacheError, "only the world outside fails at the end");
      }
    }
  });
}

/** The same for a thread that has detached: what other threads have changed since waits too. */
export function flushDetachedAtExit(
  share: StoreShare,
  { at, pool }: ChangeLog,
  path: string,
): void {
  flushAtExit({
    flush: () => {
      const store = attachStore(share);
      try {
        flushLog(new ChangeLog(store.arena, at, pool, restartWriter(path)), path);
      } finally {
        store.detach();
      }
    },
  });
}

/** Moves all that waits to the file. @throws ZcacheError ERR_IO */
export function flushLog(log: ChangeLog, path: string): void {
  log.drain();
  if (!log.isBroken) return;
  throw new ZcacheError("ERR_IO", `persist: ${path} can't be written: nothing is kept just now`, {
    context: { path },
  });
}
