// How a thread reads from the remote tier that another thread owns: it claims a fetch in shared
// memory, and the owner reads the record to it (backing/fetches.ts).
import * as Box from "../backing/outbox.layout.ts";
import type { RecordName } from "../backing/record_name.ts";
import { ZcacheError } from "../base/errors.ts";
import type { RemoteRead, RemoteReader, RoomSigns } from "../store/remote_reader.ts";
import type { StoreState } from "../store/state.ts";
import { CLOSED } from "../store/store.layout.ts";

/**
 * A thread waits so much longer than the owner of the tier does for the cluster: a request may wait
 * there for others. Without a thread that serves, this bounds the wait.
 */
const PATIENCE = 3;
/** Between two looks whether the store is closed. */
const LOOK_EVERY_MS = 100;
/** Between two attempts to claim a fetch while all are in use. */
const CLAIM_EVERY_MS = 1;
const SIZE_MASK = 0x1ffff;

/** Makes a reader for one shard of a store. */
export function sharedReader(state: StoreState): RemoteReader {
  return (name) => read(state, name);
}

/** How a thread waits for room in one shard of a store. */
export function roomSigns({ words, outbox }: StoreState): RoomSigns {
  const at = outbox!.wordAt(Box.ENDED);
  return {
    get count() {
      return Atomics.load(words, at);
    },
    changed: (count) => changedFrom(words, at, count),
  };
}

async function read(state: StoreState, name: RecordName): Promise<RemoteRead> {
  const outbox = state.outbox!;
  const { fetches } = outbox;
  const deadlineMs = performance.now() + PATIENCE * state.options.remote!.timeoutMs;
  if (outbox.get(Box.SERVER) === 0) return failure("no thread serves the remote tier yet");
  let fetch = fetches.ask(name);
  while (fetch < 0) {
    if (performance.now() > deadlineMs) return failure("too many reads wait for the remote tier");
    await sleep(CLAIM_EVERY_MS);
    if (isClosed(state)) return failure("the store has been closed");
    fetch = fetches.ask(name);
  }
  outbox.call();
  for (;;) {
    const answer = fetches.takeAnswer(fetch, name.meta & SIZE_MASK);
    if (answer instanceof Uint8Array) return answer;
    if (answer === Box.MISSING) return "missing";
    if (answer === Box.DAMAGED) return "corrupt";
    if (answer !== undefined) return failure("the page was not read in time");
    if (isClosed(state)) return failure("the store has been closed");
    if (performance.now() > deadlineMs) {
      fetches.abandon(fetch);
      return failure("the thread that serves the remote tier does not answer");
    }
    await changed(state.words, fetches.stateAt(fetch));
    if (state.isOver) return failure("the store has been closed");
  }
}

/** Waits until a fetch has been passed on, or for LOOK_EVERY_MS. */
async function changed(words: Int32Array, at: number): Promise<void> {
  const now = Atomics.load(words, at);
  if (now === Box.ASKED || now === Box.TAKEN) await changedFrom(words, at, now);
}

async function changedFrom(words: Int32Array, at: number, now: number): Promise<void> {
  const waiting = Atomics.waitAsync(words, at, now, LOOK_EVERY_MS);
  if (!waiting.async) return;
  let timer: NodeJS.Timeout | undefined;
  // Unlike waitAsync, a timer keeps the process alive.
  const timeout = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, LOOK_EVERY_MS);
  });
  await Promise.race([waiting.value, timeout]);
  clearTimeout(timer);
}

function isClosed(state: StoreState): boolean {
  return state.isOver || Atomics.load(state.words, state.root + CLOSED) !== 0;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

function failure(reason: string): ZcacheError {
  return new ZcacheError("ERR_REMOTE", reason);
}
