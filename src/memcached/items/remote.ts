// The remote tier of the items, in the thread that made their store: the lease of its prefix, and
// the end, when its records are removed.
import type { Remote, RemoteFigures } from "../../backing/remote_contract.ts";
import { ZcacheError } from "../../base/errors.ts";
import { serveRemoteOf } from "../../node/remote_service.ts";
import { Scheduler } from "../../node/scheduler.ts";
import type { ShardGroup } from "../../shard/shard_group.ts";
import type { RemoteControl } from "../../store/platform.ts";
import { stateOf } from "../../store/store.ts";

/** How long to wait for the end of an earlier process's lease: longer than a lease lasts. */
const LEASE_MS_MAX = 20_000;
const LEASE_LOOK_MS = 100;
/** At the end, records are removed for so long; the next owner of the prefix removes the others. */
const EMPTY_MS_MAX = 10_000;

export class ItemsRemote {
  readonly #remote: Remote;
  readonly #scheduler: Scheduler;
  readonly #control: RemoteControl;

  constructor(group: ShardGroup, remote: Remote, onError?: (task: string, error: unknown) => void) {
    this.#remote = remote;
    this.#scheduler = new Scheduler(
      () => group.isClosed,
      onError && ((task, error) => onError(`the background task ${task}`, error)),
    );
    this.#control = serveRemoteOf(group.stores.map(stateOf), remote, this.#scheduler);
    // A server begins without items on other machines: what is there is an earlier process's.
    this.#control.sweep();
  }

  /**
   * Waits for the lease; after a kill, that of the process before ends by itself.
   * @param onWait told why the start takes longer
   * @throws ZcacheError ERR_REMOTE, ERR_REMOTE_OWNED
   */
  async begin(onWait: (error: ZcacheError) => void): Promise<void> {
    try {
      await this.#control.ready;
    } catch (error) {
      if (!(error instanceof ZcacheError) || error.code !== "ERR_REMOTE_OWNED") throw error;
      const message = `${error.message}; waiting for the end of its lease`;
      onWait(new ZcacheError(error.code, message, { cause: error }));
      if (!(await this.#hasLeaseLater())) throw error;
    }
  }

  async #hasLeaseLater(): Promise<boolean> {
    for (let ms = 0; ms < LEASE_MS_MAX && this.#remote.epoch === 0; ms += LEASE_LOOK_MS) {
      await new Promise((resolve) => setTimeout(resolve, LEASE_LOOK_MS));
    }
    return this.#remote.epoch !== 0;
  }

  /** The nodes, as last known. */
  figures(): RemoteFigures {
    return this.#control.figures();
  }

  /** Removes all records, as far as that goes in time, and gives the lease back. */
  async end(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const limit = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, EMPTY_MS_MAX);
    });
    await Promise.race([this.#control.empty(), limit]);
    clearTimeout(timer);
    this.stop();
    await this.#remote.close();
  }

  /** Ends all work on the tier. */
  stop(): void {
    this.#scheduler.stop();
  }
}
