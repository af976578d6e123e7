// The arena's lock in all orders in which few threads can take their steps: readers never see a
// half-made change, no wake-up is lost, every thread gets its turn, and a thread that dies anywhere
// stops nobody and leaves nothing half done. The code under test is ArenaLock itself
// (test/doubles/interleaver.ts).
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import * as Super from "../../src/memory/arena.layout.ts";
import { ArenaLock, type LockedArena } from "../../src/memory/arena_lock.ts";
import { journalFormat, put } from "../../src/memory/journal.ts";
import * as Reader from "../../src/memory/reader.layout.ts";
import { Interleaver, type Program } from "../doubles/interleaver.ts";

const THREADS = 3;
const READERS_AT = Super.SUPERBLOCK_WORDS;
const LOG_AT = READERS_AT + THREADS * Reader.READER_WORDS;
/** Two words that are always equal for readers, and two that readers never look at. */
const DATA_AT = LOG_AT + 16;
const BESIDE_AT = DATA_AT + 2;
/** For each thread: whether it reads as a reader. */
const OWN_AT = BESIDE_AT + 2;
const WORDS = OWN_AT + THREADS;

const COUNTED = [
  ...[Super.ARENA_LOCK, Super.LOCK_HEIR, Super.WRITING, Super.SEQUENCE],
  ...[Super.REPAIR, Super.RECOVERIES],
  ...[Super.TRANSACTIONS, Super.JOURNAL_NEXT],
  ...Array.from({ length: THREADS }, (_, nth) => READERS_AT + nth * Reader.READER_WORDS),
  ...Array.from({ length: WORDS - LOG_AT }, (_, nth) => LOG_AT + nth),
];

/** Words of the lock that are written under it only, or never. */
const QUIET = [
  ...[Super.READERS_AT, Super.READERS_TOP, Super.REPAIR, Super.RECOVERIES, Super.TRANSACTIONS],
  ...[Super.JOURNAL_NEXT, Super.JOURNAL_AT, Super.JOURNAL_LIMIT],
  ...[Super.THREADS, Super.THREADS + 1, Super.THREADS + 2],
];

/** The owner number of the n-th thread: its first attachment. */
function ownerOf(nth: number): number {
  return (1 << 8) | (nth + 1);
}

class Model {
  readonly interleaver = new Interleaver(WORDS, COUNTED);
  readonly #processors: number;
  /** Whether the repair after a death changes what readers look at. */
  isRepairing = false;
  /** Readers that are told to take the lock, over all orders. */
  refused = 0;

  constructor(processors: number, threads: number) {
    this.#processors = processors;
    const { initial } = this.interleaver;
    initial[Super.READERS_AT] = READERS_AT;
    initial[Super.READERS_TOP] = threads;
    for (let nth = 0; nth < THREADS; nth++) initial[Super.THREADS + nth] = nth + 1;
    journalFormat(initial, LOG_AT);
    const { quiet } = this.interleaver;
    for (let at = LOG_AT; at < WORDS; at++) quiet.add(at);
    for (const at of QUIET) quiet.add(at);
  }

  #lockOf(nth: number): ArenaLock {
    const { interleaver } = this;
    const isDead = (thread: number) => interleaver.ask(() => (interleaver.isDead(thread) ? 1 : 0));
    const arena: LockedArena = {
      words: interleaver.words,
      kernels: interleaver.kernels,
      frames: { resetLock() {} } as LockedArena["frames"],
      thread: nth + 1,
      owner: ownerOf(nth),
      isDead: (owner) => owner === 0 || isDead((owner & 0xff) - 1) === 1,
    };
    const threads = {
      self: () => nth + 1,
      mayRun: (name: number) => isDead(name - 1) === 0,
      processors: this.#processors,
    };
    const lock = new ArenaLock(arena, threads);
    interleaver.prepare(() => lock.openReader());
    lock.onDeath = () => {
      if (this.isRepairing) this.#change(DATA_AT);
    };
    return lock;
  }

  /** A pause is a step, and what follows it belongs to that step. */
  #change(at: number): void {
    const { interleaver } = this;
    const { words } = interleaver;
    interleaver.pause();
    put(words, at, words[at]! + 1);
    interleaver.pause();
    put(words, at + 1, words[at + 1]! + 1);
  }

  /** An optimistic read, as the kernel does it. @returns what it has read; undefined: in vain */
  #readOptimistically(): readonly [number, number] | undefined {
    const { interleaver } = this;
    const { words } = interleaver;
    const before = Atomics.load(words, Super.SEQUENCE);
    if (Atomics.load(words, Super.WRITING) !== 0) return undefined;
    interleaver.pause();
    const first = words[DATA_AT]!;
    interleaver.pause();
    const second = words[DATA_AT + 1]!;
    if (Atomics.load(words, Super.SEQUENCE) === before) return [first, second];
    return undefined;
  }

  /**
   * The work of the n-th thread: w writes, b beside readers, r reads, o reads optimistically until
   * that succeeds, p tries it once.
   */
  program(nth: number, work: string, more: Partial<Program> = {}): Program {
    const { interleaver } = this;
    const { words } = interleaver;
    const lock = this.#lockOf(nth);
    const parts: Record<string, readonly (() => void)[]> = {
      w: [
        () => lock.lock(),
        () => this.#change(DATA_AT),
        () => {
          lock.commit();
          lock.unlock();
        },
      ],
      b: [
        () => lock.lockBeside(),
        () => this.#change(BESIDE_AT),
        () => {
          lock.commitBeside();
          lock.unlock();
        },
      ],
      r: [
        () => {
          const isReader = lock.enterReader();
          words[OWN_AT + nth] = isReader ? 1 : 0;
          if (isReader) return;
          this.refused++;
          lock.lockBeside();
        },
        () => {
          interleaver.pause();
          const first = words[DATA_AT]!;
          interleaver.pause();
          assert.equal(words[DATA_AT + 1], first, "a reader sees no half-made change");
        },
        () => {
          if (words[OWN_AT + nth] === 1) lock.leaveReader();
          else lock.unlock();
        },
      ],
      p: [
        () => {
          const read = this.#readOptimistically();
          assert.equal(read?.[1], read?.[0], "an optimistic reader sees no half-made change");
        },
      ],
      o: [
        () => {
          for (;;) {
            const read = this.#readOptimistically();
            if (read !== undefined) {
              assert.equal(read[1], read[0], "an optimistic reader sees no half-made change");
              return;
            }
            if (!lock.waitForWriter()) break;
          }
          this.refused++;
          lock.lockBeside();
          assert.equal(words[DATA_AT + 1], words[DATA_AT], "nothing is half made under the lock");
          lock.unlock();
        },
      ],
    };
    return { rounds: [...work].flatMap((letter) => parts[letter]!), ...more };
  }
}

export interface Scenario {
  readonly name: string;
  readonly rounds: readonly string[];
  readonly more?: Partial<Program>;
  /** Whether `more` holds for the first thread only. */
  readonly isFirstOnly?: boolean;
  /** Whether the repair after a death changes what readers look at. */
  readonly isRepairing?: boolean;
  readonly timeouts?: number;
  readonly statesMax?: number;
  /** One processor: no thread spins. Two: each spins for one turn. */
  readonly processors: 1 | 2;
}

export const IMPATIENT = { isImpatient: true };
export const MORTAL = { mayDie: true };
/** More states than this are a loop that has no end. */
const STATES_MAX = 200_000;

/** Runs a scenario in all orders. */
export function runScenario(t: TestContext, { rounds, more, ...scenario }: Scenario): void {
  const model = new Model(scenario.processors, rounds.length);
  model.isRepairing = scenario.isRepairing ?? false;
  const programs = rounds.map((letters, nth) =>
    model.program(nth, letters, nth > 0 && scenario.isFirstOnly === true ? {} : more),
  );
  const writes = rounds.join("").replaceAll(/[^w]/g, "").length;
  const timeouts = scenario.timeouts ?? 0;
  const bounds = { timeouts, states: scenario.statesMax ?? STATES_MAX };
  const states = model.interleaver.run(programs, bounds, (words) => {
    // The next owner undoes the change of a dead one.
    if (words[Super.ARENA_LOCK] !== 0) return assert.ok(more?.mayDie);
    assert.equal(words[DATA_AT], words[DATA_AT + 1], "a change is made or not made");
    assert.equal(words[BESIDE_AT], words[BESIDE_AT + 1]);
    if (more?.mayDie === true) return;
    assert.equal(words[DATA_AT], writes, "no change is lost");
    for (const at of [Super.LOCK_HEIR, Super.WRITING]) assert.equal(words[at], 0, `word ${at}`);
    for (let nth = 0; nth < THREADS; nth++) {
      assert.equal(words[READERS_AT + nth * Reader.READER_WORDS], 0, "no thread reads");
    }
  });
  t.diagnostic(`${states} states`);
  if (more === undefined && timeouts === 0) assert.equal(model.refused, 0, "readers wait as such");
}
