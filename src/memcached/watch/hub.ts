// Messages between the threads of a server about `watch`: that what is watched has changed, and
// records for watchers. Workers send them to the main thread, which passes them on to the others.
import type { Worker } from "node:worker_threads";
import { WatchBoard } from "./board.ts";

/** From a thread: what is watched has changed; or records for watchers (records.ts). */
export type WatchMessage =
  | { readonly type: "watched" }
  | { readonly type: "log"; readonly records: Uint8Array };
/** From the main thread to a worker: the same, with the thread whose records they are. */
export type WatchOrder =
  | { readonly type: "watched" }
  | { readonly type: "log"; readonly records: Uint8Array; readonly from: number };

/** What the hub needs of the main thread. */
export interface WatchThread {
  readonly connections: { lookAtWatched(): void };
  readonly watch: { receive(records: Uint8Array, from: number): void };
}

const MAIN = 0;

export class WatchHub {
  readonly #board: WatchBoard;
  #main: WatchThread | undefined;
  /** Worker n is thread n + 1. */
  readonly #workers: readonly Worker[];

  /** @param workers grows as workers are started */
  constructor(watch: SharedArrayBuffer, workers: readonly Worker[]) {
    this.#board = WatchBoard.attach(watch, MAIN);
    this.#workers = workers;
  }

  /** Set when the main thread serves. */
  set main(main: WatchThread) {
    this.#main = main;
  }

  /** Takes a message of a thread, the main thread included. */
  take(message: WatchMessage, from: number): void {
    if (message.type === "watched") {
      if (from !== MAIN) this.#main?.connections.lookAtWatched();
      this.#broadcast(message, from);
      return;
    }
    const { records } = message;
    const order: WatchOrder = { type: "log", records, from };
    for (let thread = 1; thread <= this.#workers.length; thread++) {
      if (thread === from || this.#board.flagsOf(thread) === 0) continue;
      this.#board.sent(from, records.length);
      this.#workers[thread - 1]!.postMessage(order);
    }
    if (from === MAIN || this.#main === undefined) this.#board.sent(from, -records.length);
    else this.#main.watch.receive(records, from);
  }

  #broadcast(order: WatchOrder, from: number): void {
    for (const [nth, worker] of this.#workers.entries()) {
      if (nth + 1 !== from) worker.postMessage(order);
    }
  }
}
