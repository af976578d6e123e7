// A thread that returns memory, in a call of the system that lasts until it is told to end.
import { parentPort, workerData } from "node:worker_threads";
import { Arena, type ArenaShare } from "../../src/memory/arena.ts";
import { returnBlocks } from "../../src/memory/residency.ts";
import { nodeThreads } from "../../src/node/threads.ts";

export interface ReturnInput {
  readonly share: ArenaShare;
  /** Word that the worker sets to 1 in the call, which ends when the word is another number. */
  readonly at: number;
}

const { share, at } = workerData as ReturnInput;
const arena = Arena.attach(share, nodeThreads());
const frames = returnBlocks(arena, 1_000_000, () => {
  Atomics.store(arena.words, at, 1);
  parentPort!.postMessage("in the call");
  Atomics.wait(arena.words, at, 1);
  return true;
});
arena.detach();
parentPort!.postMessage(frames);
