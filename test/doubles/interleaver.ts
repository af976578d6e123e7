// Runs the real code of locks in all orders in which threads may take their steps: a model check
// whose model is the code. Within one thread, there are several simulated ones on one memory.
//
// A step is one access to a word that threads share. To take the next step of a thread, its program
// runs from the start: accesses that it has made before return what they returned then and change
// nothing, the next one is really made, and the one after that abandons the run. So the state of a
// thread is the list of what its accesses returned, and every state can be stored and resumed.
//
// A thread that sleeps goes on when it is notified. If all threads sleep, time passes until they
// time out; that must not happen unless a thread has died, because then a wake-up was lost.
import type { Kernels } from "../../src/wasm/kernels.ts";

type Recorded = number | string;

interface ThreadState {
  readonly round: number;
  /** What the accesses of this round have returned so far. */
  readonly history: readonly Recorded[];
  readonly status: "ready" | "asleep" | "done" | "dead";
  readonly sleepsAt: number;
}

interface State {
  /** The words that are counted. */
  readonly words: Int32Array;
  readonly threads: readonly ThreadState[];
  /** Threads that sleep, in the order in which they will be woken. */
  readonly sleepers: readonly number[];
  readonly deaths: number;
  readonly timeouts: number;
  readonly from: State | undefined;
  readonly label: string;
}

interface Node {
  readonly state: State;
  readonly next: readonly string[];
}

/**
 * A thread: parts of its work, one after the other. Between two of them, the code knows nothing
 * that is not in the words, so that states are equal although they came about differently.
 */
export interface Program {
  readonly rounds: readonly (() => void)[];
  /** Whether a thread that has slept once has waited for long. */
  readonly isImpatient?: boolean;
  /** Whether the thread may die before any of its steps. */
  readonly mayDie?: boolean;
}

export interface Bounds {
  /** Waits that may time out although no thread has died. */
  readonly timeouts?: number;
  readonly states: number;
}

/** Thrown through the code under test, to abandon a run. */
class Abandoned extends Error {}

/** ms that one sleep takes in the eyes of a thread that is impatient. */
const LONG_MS = 1000;

export class Interleaver {
  /** The words as the code under test sees them. */
  readonly words: Int32Array;
  readonly kernels: Kernels;
  /** Changed directly before `run`. */
  readonly initial: Int32Array;
  /** Word indexes whose accesses are no steps: they don't change, or only under a lock. */
  readonly quiet = new Set<number>();
  readonly #counted: readonly number[];
  #memory: Int32Array = new Int32Array();
  #thread = 0;
  #history: Recorded[] = [];
  #position = 0;
  #budget = 0;
  #isAbandoned = false;
  #sleepsAt = -1;
  #sleepers: number[] = [];
  #woken: number[] = [];
  #isRunning = false;
  #slept = 0;
  #label = "";
  #state: State | undefined;

  /** @param counted word indexes that make a state, all that change */
  constructor(size: number, counted: readonly number[]) {
    this.initial = new Int32Array(size);
    this.#memory = this.initial;
    this.#counted = counted;
    this.words = new Proxy(new Int32Array(1), {
      get: (_, at) => this.#load(Number(at)),
      set: (_, at, value: number) => {
        this.#store(Number(at), value);
        return true;
      },
    });
    this.kernels = this.#makeKernels();
  }

  /** A step that does nothing, so that others come in between. */
  pause(): void {
    this.#access("pauses", () => 0);
  }

  /** Something that the code asks of its surroundings, such as whether a thread is dead. */
  ask(of: () => number): number {
    return this.#record(of) as number;
  }

  /** Runs code that uses the words before `run`. */
  prepare(work: () => void): void {
    const restore = this.#patch();
    try {
      work();
    } finally {
      restore();
    }
  }

  isDead(thread: number): boolean {
    return this.#state?.threads[thread]?.status === "dead";
  }

  /**
   * Explores all orders.
   * @param check called in each state in which all threads are done or dead
   * @returns the number of states
   * @throws Error of a program, of `check`, or for a lost wake-up, with the steps that led there
   */
  run(programs: readonly Program[], bounds: Bounds, check: (words: Int32Array) => void): number {
    const { timeouts = 0 } = bounds;
    const fresh: ThreadState = { round: 0, history: [], status: "ready", sleepsAt: -1 };
    const start: State = {
      ...{ words: this.#pack(this.initial), threads: programs.map(() => fresh), sleepers: [] },
      ...{ deaths: 0, timeouts, from: undefined, label: "start" },
    };
    const graph = new Map<string, Node>();
    const open = [start];
    const restore = this.#patch();
    try {
      for (let state = open.pop(); state !== undefined; state = open.pop()) {
        const key = this.#keyOf(state);
        if (graph.has(key)) continue;
        if (graph.size === bounds.states) throw new Error(`more than ${bounds.states} states`);
        try {
          const next = this.#next(state, programs, check);
          graph.set(key, { state, next: next.map((one) => this.#keyOf(one)) });
          open.push(...next);
        } catch (error) {
          const message = `${(error as Error).message}\n${traceOf(state)}\n${this.#label}`;
          throw new Error(message, { cause: error });
        }
      }
    } finally {
      restore();
    }
    const trapped = findTrapped(graph);
    if (trapped !== undefined) throw new Error(`from here nothing ends\n${traceOf(trapped)}`);
    return graph.size;
  }

  #next(state: State, programs: readonly Program[], check: (words: Int32Array) => void): State[] {
    const { threads } = state;
    const next: State[] = [];
    for (const [nth, thread] of threads.entries()) {
      if (thread.status === "ready") next.push(this.#step(state, nth, programs[nth]!));
    }
    const isStuck = next.length === 0;
    if (isStuck && state.sleepers.length > 0) {
      if (state.deaths === 0) throw new Error("all threads sleep: a wake-up was lost");
      next.push(timedOut(state, state.sleepers));
    }
    for (const [nth, thread] of threads.entries()) {
      if (thread.status === "asleep" && state.timeouts > 0) {
        next.push({ ...timedOut(state, [nth]), timeouts: state.timeouts - 1 });
      }
      const isAlive = thread.status === "ready" || thread.status === "asleep";
      if (isAlive && programs[nth]!.mayDie === true && state.deaths === 0) {
        next.push(died(state, nth));
      }
    }
    if (isStuck && state.sleepers.length === 0) {
      this.#label = "end";
      check(this.#unpack(state.words));
    }
    return next;
  }

  #step(state: State, nth: number, program: Program): State {
    const thread = state.threads[nth]!;
    this.#state = state;
    this.#memory = this.#unpack(state.words);
    this.#thread = nth;
    this.#history = [...thread.history];
    this.#position = 0;
    this.#budget = 1;
    this.#isAbandoned = false;
    this.#sleepsAt = -1;
    this.#sleepers = [...state.sleepers];
    this.#woken = [];
    this.#slept = 0;
    this.#label = `${nth}: ends a round`;
    const now = performance.now;
    performance.now = () => (program.isImpatient === true ? this.#slept * LONG_MS : 0);
    this.#isRunning = true;
    let isOver = false;
    try {
      program.rounds[thread.round]!();
      isOver = true;
    } catch (error) {
      if (!this.#isAbandoned) throw error;
    } finally {
      this.#isRunning = false;
      performance.now = now;
    }
    return this.#after(state, nth, isOver, program.rounds.length);
  }

  #after(state: State, nth: number, isOver: boolean, rounds: number): State {
    const before = state.threads[nth]!;
    const round = before.round + (isOver ? 1 : 0);
    const isAsleep = this.#sleepsAt >= 0;
    const own: ThreadState = {
      round,
      history: isOver ? [] : this.#history,
      status: round === rounds ? "done" : isAsleep ? "asleep" : "ready",
      sleepsAt: this.#sleepsAt,
    };
    const threads = state.threads.map((thread, other) => {
      if (other === nth) return own;
      if (!this.#woken.includes(other)) return thread;
      return { ...thread, ...awake(thread, "ok") };
    });
    const [words, sleepers] = [this.#pack(this.#memory), this.#sleepers];
    return { ...state, words, threads, sleepers, from: state, label: this.#label };
  }

  /** Makes an access, or returns what it returned before. */
  #record(access: () => Recorded): Recorded {
    if (!this.#isRunning) return access();
    if (this.#isAbandoned) throw new Abandoned();
    if (this.#position < this.#history.length) return this.#history[this.#position++]!;
    const result = access();
    this.#history.push(result);
    this.#position++;
    return result;
  }

  /** An access that is a step of its own. */
  #access(label: string, access: () => Recorded): Recorded {
    return this.#record(() => {
      if (this.#isRunning && this.#budget-- === 0) this.#abandon();
      const result = access();
      this.#label = `${this.#thread}: ${label} → ${result}`;
      return result;
    });
  }

  #abandon(): never {
    this.#isAbandoned = true;
    throw new Abandoned();
  }

  #sleep(at: number, value: number): Recorded {
    const result = this.#record(() => {
      if (this.#budget-- === 0) this.#abandon();
      const found = this.#memory[at]!;
      this.#label = `${this.#thread}: wait ${at} for ${value}, found ${found}`;
      if (found !== value) return "not-equal";
      this.#sleepsAt = at;
      this.#sleepers.push(this.#thread);
      return this.#abandon();
    });
    this.#slept++;
    return result;
  }

  #notify(at: number, count: number): number {
    return this.#access(`notify ${at}`, () => {
      const here = this.#sleepers.filter((nth) => this.#state!.threads[nth]!.sleepsAt === at);
      this.#woken.push(...here.slice(0, count));
      this.#sleepers = this.#sleepers.filter((nth) => !this.#woken.includes(nth));
      return Math.min(count, here.length);
    }) as number;
  }

  #load(at: number): number {
    const access = () => this.#memory[at]!;
    return (
      this.quiet.has(at) ? this.#record(access) : this.#access(`load ${at}`, access)
    ) as number;
  }

  #store(at: number, value: number): number {
    const access = () => {
      this.#write(at, value);
      return value;
    };
    if (this.quiet.has(at)) return this.#record(access) as number;
    return this.#access(`store ${at} ${value}`, access) as number;
  }

  #exchange = (at: number, value: number) =>
    this.#access(`exchange ${at} ${value}`, () => {
      const before = this.#memory[at]!;
      this.#write(at, value);
      return before;
    }) as number;

  #increment = (at: number) =>
    this.#access(`increment ${at}`, () => {
      this.#write(at, this.#memory[at]! + 1);
      return this.#memory[at]!;
    }) as number;

  #compareExchange = (at: number, expected: number, value: number) =>
    this.#access(`compareExchange ${at} ${expected} ${value}`, () => {
      const before = this.#memory[at]!;
      if (before === expected) this.#write(at, value);
      return before;
    }) as number;

  /** As in lock.as.ts; of a loop, one turn. */
  #makeKernels(): Kernels {
    const enterReader = (reader: number, writing: number): number => {
      this.#store(reader / 4, 1);
      if (this.#load(writing / 4) === 0) return 1;
      leaveReader(reader);
      return 0;
    };
    const leaveReader = (reader: number): void => {
      if (this.#exchange(reader / 4, 0) !== 1) this.#notify(reader / 4, 1);
    };
    const kernels: Partial<Kernels> = {
      compareExchange: (at, expected, value) => this.#compareExchange(at / 4, expected, value),
      exchange: (at, value) => this.#exchange(at / 4, value),
      increment: (at) => void this.#increment(at / 4),
      enterReader,
      leaveReader,
      firstSet: (words, nth, count, stride) => {
        let found = nth;
        while (found < count && this.#load((words + found * stride) / 4) === 0) found++;
        return found;
      },
      spinForLock: (lock, owner, turns) => {
        if (turns === 0 || this.#load(lock / 4) !== 0) return 0;
        return this.#compareExchange(lock / 4, 0, owner) === 0 ? 1 : 0;
      },
      spinAsReader: (reader, writing, turns) => {
        if (turns === 0 || this.#load(writing / 4) !== 0) return 0;
        return enterReader(reader, writing);
      },
      spinWhileSet: (at, bit, turns) => (turns > 0 && (this.#load(at / 4) & bit) === 0 ? 1 : 0),
      addLong: () => {},
    };
    return kernels as Kernels;
  }

  /** Replaces what the code calls on shared words. @returns undoes it */
  #patch(): () => void {
    const saved = { ...pick(Atomics, ["load", "store", "exchange", "compareExchange"]) };
    const { wait, notify } = Atomics;
    const patched = {
      load: (_: Int32Array, at: number) => this.#load(at),
      store: (_: Int32Array, at: number, value: number) => this.#store(at, value),
      exchange: (_: Int32Array, at: number, value: number) => this.#exchange(at, value),
      compareExchange: (_: Int32Array, at: number, expected: number, value: number) =>
        this.#compareExchange(at, expected, value),
      wait: (_: Int32Array, at: number, value: number) => this.#sleep(at, value),
      notify: (_: Int32Array, at: number, count = Number.POSITIVE_INFINITY) =>
        this.#notify(at, count),
    };
    Object.assign(Atomics, patched);
    return () => void Object.assign(Atomics, saved, { wait, notify });
  }

  #write(at: number, value: number): void {
    if (this.#isRunning && !this.#counted.includes(at))
      throw new Error(`word ${at} is not counted`);
    this.#memory[at] = value;
  }

  #pack(memory: Int32Array): Int32Array {
    return Int32Array.from(this.#counted, (at) => memory[at]!);
  }

  #unpack(words: Int32Array): Int32Array {
    const memory = this.initial.slice();
    for (const [nth, at] of this.#counted.entries()) memory[at] = words[nth]!;
    return memory;
  }

  #keyOf({ words, threads, sleepers, deaths, timeouts }: State): string {
    const memory = words.join();
    const own = threads.map((t) => `${t.round}${t.status}${t.sleepsAt}:${t.history.join()}`);
    return `${memory}|${own.join("|")}|${sleepers.join()}|${deaths}${timeouts}`;
  }
}

function pick<T extends object, K extends keyof T>(from: T, keys: readonly K[]): Pick<T, K> {
  return Object.fromEntries(keys.map((key) => [key, from[key]])) as Pick<T, K>;
}

function awake(thread: ThreadState, result: string) {
  return { history: [...thread.history, result], status: "ready", sleepsAt: -1 } as const;
}

function timedOut(state: State, which: readonly number[]): State {
  const threads = state.threads.map((thread, nth) =>
    which.includes(nth) ? { ...thread, ...awake(thread, "timed-out") } : thread,
  );
  const sleepers = state.sleepers.filter((nth) => !which.includes(nth));
  return { ...state, threads, sleepers, from: state, label: `${which.join()}: time out` };
}

function died(state: State, nth: number): State {
  const threads = state.threads.map((thread, other) =>
    other === nth ? ({ ...thread, status: "dead", sleepsAt: -1 } as const) : thread,
  );
  const sleepers = state.sleepers.filter((other) => other !== nth);
  const deaths = state.deaths + 1;
  return { ...state, threads, sleepers, deaths, from: state, label: `${nth}: dies` };
}

/** A state from which no state is reached in which all threads have ended. */
function findTrapped(graph: ReadonlyMap<string, Node>): State | undefined {
  const before = new Map<string, string[]>();
  for (const [key, { next }] of graph) {
    for (const one of next) before.set(one, [...(before.get(one) ?? []), key]);
  }
  const open = [...graph].filter(([, { next }]) => next.length === 0).map(([key]) => key);
  const ending = new Set<string>();
  for (let key = open.pop(); key !== undefined; key = open.pop()) {
    if (ending.has(key)) continue;
    ending.add(key);
    open.push(...(before.get(key) ?? []));
  }
  return [...graph].find(([key]) => !ending.has(key))?.[1].state;
}

function traceOf(state: State): string {
  const labels: string[] = [];
  for (let at: State | undefined = state; at !== undefined; at = at.from) labels.push(at.label);
  return labels.reverse().join("\n");
}
