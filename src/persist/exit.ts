// Writes the rest of the log of changes when the process ends before the cache was closed.
import { assert, ZcacheError } from "../base/errors.ts";
import { attachStore } from "../node/stores.ts";
import { ChangeLog } from "../store/change_log.ts";
import type { StoreShare } from "../store/store.ts";
import { logWriter } from "./files.ts";

/** Has changes to write when the process ends. */
interface Flushable {
  /** @throws ZcacheError ERR_IO */
  flush(): void;
}

/** What is to be flushed when this process ends. */
export const exitFlushes = new Set<Flushable>();
let hasListener = false;

/** Calls `flush` when the process ends, unless the object is deleted from `exitFlushes` before. */
export function flushAtExit(flushable: Flushable): void {
  exitFlushes.add(flushable);
  if (hasListener) return;
  hasListener = true;
  process.on("exit", () => {
    for (const one of exitFlushes) {
      try {
        one.flush();
      } catch (error) {
        assert(
          error instanceof ZcacheError,
          "a flush at exit fails for reasons outside of the process only",
        );
      }
    }
  });
}

/** The same after the thread has detached, for changes that other threads make since. */
export function flushDetachedAtExit(
  share: StoreShare,
  { at, pool }: ChangeLog,
  path: string,
): void {
  flushAtExit({
    flush: () => {
      const store = attachStore(share);
      try {
        flushLog(new ChangeLog(store.arena, at, pool, logWriter(path)), path);
      } finally {
        store.detach();
      }
    },
  });
}

/** Writes all changes so far to the file. @throws ZcacheError ERR_IO */
export function flushLog(log: ChangeLog, path: string): void {
  log.drain();
  if (!log.isBroken) return;
  throw new ZcacheError(
    "ERR_IO",
    `persist: ${path} can't be written: changes are not recorded at present`,
    {
      context: { path },
    },
  );
}
