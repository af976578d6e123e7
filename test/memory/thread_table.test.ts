// Attaching to an arena, leaving and closing it, in all orders in which few threads can take their
// steps: the memory of a closed arena is never returned while a thread uses it, and always returned
// once no thread can. The code under test is that of thread_table.ts (test/doubles/interleaver.ts).
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Threads } from "../../src/base/threads.ts";
import * as Super from "../../src/memory/arena.layout.ts";
import { claimThread, isClosed, leave, setClosed } from "../../src/memory/thread_table.ts";
import { Interleaver, type Program } from "../doubles/interleaver.ts";

const THREADS = 3;
/** A word of the memory that is returned, and what stands in it before. */
const DATA_AT = Super.SUPERBLOCK_WORDS;
const INTACT = 77;
const STATES_MAX = 300_000;

class Model {
  readonly interleaver = new Interleaver(DATA_AT + 1, [
    Super.CLOSED,
    DATA_AT,
    ...Array.from({ length: THREADS }, (_, nth) => Super.THREADS + nth),
  ]);

  /** @param attached the first so many threads are attached at the start */
  constructor(attached: number) {
    const { initial, quiet } = this.interleaver;
    initial[DATA_AT] = INTACT;
    for (let nth = 0; nth < attached; nth++) initial[Super.THREADS + nth] = nth + 1;
    for (let nth = THREADS; nth < Super.MAX_THREADS; nth++) quiet.add(Super.THREADS + nth);
  }

  #threadsOf(nth: number): Threads {
    const { interleaver } = this;
    return {
      self: () => nth + 1,
      mayRun: (name) => interleaver.ask(() => (interleaver.isDead(name - 1) ? 0 : 1)) === 1,
      processors: 2,
    };
  }

  #use(): void {
    assert.equal(this.interleaver.words[DATA_AT], INTACT, "memory in use is not returned");
  }

  #leave(nth: number, thread: number): void {
    const { words } = this.interleaver;
    if (leave(words, thread, this.#threadsOf(nth))) words[DATA_AT] = 0;
  }

  /** The work of the n-th thread: a attaches and detaches; d detaches, c closes, both attached. */
  program(nth: number, work: string, mayDie: boolean): Program {
    const { words } = this.interleaver;
    const works: Record<string, () => void> = {
      a: () => {
        if (isClosed(words)) return;
        const { thread } = claimThread(words, this.#threadsOf(nth));
        if (!isClosed(words)) {
          this.#use();
          this.#use();
        }
        this.#leave(nth, thread);
      },
      d: () => {
        this.#use();
        this.#leave(nth, nth + 1);
      },
      c: () => {
        this.#use();
        setClosed(words);
        this.#use();
        this.#leave(nth, nth + 1);
      },
    };
    return { rounds: [works[work]!], mayDie };
  }
}

for (const [works, mortal] of [
  ["ca", false],
  ["cc", false],
  ["cd", false],
  ["caa", false],
  ["cca", false],
  ["cda", false],
  ["ca", true],
  ["cda", true],
  ["da", false],
] as const) {
  test(`the memory of a closed arena: ${works}${mortal ? ", one of which dies" : ""}`, (t) => {
    const model = new Model([...works].filter((work) => work !== "a").length);
    const programs = [...works].map((work, nth) => model.program(nth, work, mortal));
    let ends = 0;
    const states = model.interleaver.run(programs, { states: STATES_MAX }, (words) => {
      ends++;
      // A thread that dies as the last one leaves nobody who could return the memory.
      if (mortal) return assert.ok(words[DATA_AT] === INTACT || words[Super.CLOSED] === 1);
      const left = Array.from({ length: THREADS }, (_, nth) => words[Super.THREADS + nth]);
      assert.deepEqual(left, [0, 0, 0]);
      assert.equal(words[DATA_AT], words[Super.CLOSED] === 0 ? INTACT : 0);
    });
    assert.ok(ends > 0);
    t.diagnostic(`${states} states`);
  });
}
