// Requests of a thread that wait for items on other machines. Their records are read in the order
// of the requests; all that are being read, or have come and are not used yet, stay below a limit,
// so that many clients that ask for long items do not take memory without bound.
import type { RemoteWait } from "../store/remote_arrivals.ts";

/** Bytes of records at a time. A request that needs more is alone. */
const BYTES_MAX = 4 * 1024 * 1024;

export class RemoteWaits<T> {
  readonly #ready: (one: T) => void;
  readonly #queue: { readonly one: T; readonly wait: RemoteWait }[] = [];
  #bytes = 0;

  /** @param ready called when the records of a connection's request are here; must not throw */
  constructor(ready: (one: T) => void) {
    this.#ready = ready;
  }

  add(one: T, wait: RemoteWait): void {
    // A request that has some of its records, and needs others, must not wait for other requests,
    // which may wait for it.
    if (wait.countedBytes > 0) this.#read(one, wait);
    else {
      this.#queue.push({ one, wait });
      this.#start();
    }
  }

  #start(): void {
    for (;;) {
      const [first] = this.#queue;
      if (first === undefined) return;
      const { bytes } = first.wait;
      if (this.#bytes > 0 && this.#bytes + bytes > BYTES_MAX) return;
      this.#queue.shift();
      this.#read(first.one, first.wait);
    }
  }

  async #read(one: T, wait: RemoteWait): Promise<void> {
    this.#bytes += wait.bytes - wait.countedBytes;
    wait.countedBytes = wait.bytes;
    wait.onRelease = () => {
      this.#bytes -= wait.countedBytes;
      this.#start();
    };
    await wait.read();
    this.#ready(one);
  }
}
