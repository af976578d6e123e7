// A closed queueing network that predicts how many threads do on how many processors.
//
//   think ─► key's lock ─► compress ─► arena's lock, exclusively ─► free both     a set
//   think ─► optimistic read, again if a set has begun meanwhile                  a get
//                      … and beside readers, once in some gets                    their hits
//
// Stations are the processors, with a queue and turns as the system's scheduler gives them, the
// arena's lock with its three ways in, and the locks of the keys, which are drawn as the benchmark
// draws them. The protocol is the real one: a thread that meets a lock spins on its processor and
// then sleeps without one; who comes first to a free lock has it; readers read together, and wait
// for writers, but no writer waits for them; who wakes a thread takes a while for that. All times
// are drawn from exponential distributions around means that one thread was seen to take. It is
// evaluated by simulating it, because networks with spinning, turns and readers have no product
// form.
import { Xorshift32 } from "../../src/base/random.ts";
import { Zipf } from "../../src/lab/simulate/generate.ts";

/** Means in µs for one operation of a thread that meets nobody. */
export interface Costs {
  /** Sets in a thousand operations. */
  readonly sets: number;
  /** Outside of all locks, of a get and of a set. */
  readonly thinkGetUs: number;
  readonly thinkSetUs: number;
  /** Under the key's lock, before the arena's. */
  readonly keyUs: number;
  readonly exclusiveUs: number;
  readonly readerUs: number;
  readonly besideUs: number;
  /** Share of the gets with work beside readers. */
  readonly besideShare: number;
  readonly keys: number;
}

/** What the system takes. */
export interface Machine {
  readonly processors: number;
  /** Turn of a thread if others wait for a processor. */
  readonly turnUs: number;
  /** Time until a thread that is woken runs, if a processor is free. */
  readonly wakeUs: number;
  /** Time that a processor loses when it goes from one thread to another, with cold caches. */
  readonly switchUs: number;
  /** Time that a thread spins before it sleeps. */
  readonly spinUs: number;
  /** Time that a thread takes to wake another one. */
  readonly wakerUs: number;
}

export const STRIPES = 1024;

type Step = "think" | "key" | "compress" | "reader" | "beside" | "exclusive";

interface Thread {
  /** What it does, and for how much longer. */
  step: Step;
  leftUs: number;
  /** works: needs a processor and makes way. spins: has one, for leftUs. sleeps: has none. */
  state: "works" | "spins" | "sleeps";
  /** Steps after this one; the key of the operation. */
  rest: Step[];
  key: number;
  holds: { key: boolean; arena: "" | "reader" | "beside" | "exclusive" };
  /** Writes that had begun when it began to read. */
  seen: number;
  /** Time that it still has to spend on waking others. */
  owesUs: number;
  onProcessor: boolean;
  turnLeftUs: number;
  /** When it can run again after it was woken; when it went to sleep. */
  wakesAt: number;
  sleptAt: number;
  done: number;
}

export class Model {
  readonly #costs: Costs;
  readonly #machine: Machine;
  readonly #random: Xorshift32;
  readonly #zipf: Zipf;
  readonly #threads: Thread[];
  readonly #keyOwners = new Map<number, Thread>();
  /** Threads that wait for a processor. */
  readonly #queue: Thread[] = [];
  #owner: Thread | undefined;
  #isWriting = false;
  #writes = 0;
  #now = 0;

  constructor(costs: Costs, machine: Machine, threads: number, seed = 1) {
    this.#costs = costs;
    this.#machine = machine;
    this.#random = new Xorshift32(seed);
    this.#zipf = new Zipf(costs.keys, 0.99, this.#random);
    this.#threads = Array.from({ length: threads }, () => ({
      ...{ step: "think", leftUs: 0, state: "works", rest: [], key: 0, done: -1 },
      ...{
        holds: { key: false, arena: "" },
        onProcessor: false,
        turnLeftUs: 0,
        wakesAt: 0,
        sleptAt: 0,
        seen: 0,
        owesUs: 0,
      },
    }));
    for (const thread of this.#threads) {
      this.#nextOperation(thread);
      this.#wantProcessor(thread);
    }
  }

  /** @returns operations of each thread, in so many µs */
  run(us: number): number[] {
    const end = this.#now + us;
    while (this.#now < end) this.#advance();
    return this.#threads.map(({ done }) => done);
  }

  /** Goes on to the next event. */
  #advance(): void {
    let least = Number.POSITIVE_INFINITY;
    for (const thread of this.#threads) {
      if (thread.onProcessor) {
        least = Math.min(least, thread.leftUs);
        if (this.#queue.length > 0) least = Math.min(least, Math.max(0, thread.turnLeftUs));
      } else if (thread.wakesAt > this.#now) least = Math.min(least, thread.wakesAt - this.#now);
    }
    this.#now += least;
    for (const thread of this.#threads) {
      if (!thread.onProcessor) continue;
      thread.leftUs -= least;
      thread.turnLeftUs -= least;
    }
    for (const thread of this.#threads) {
      if (!thread.onProcessor) {
        if (thread.wakesAt !== 0 && thread.wakesAt <= this.#now) this.#wantProcessor(thread);
      } else if (thread.leftUs <= 1e-9) this.#end(thread);
      else if (thread.turnLeftUs <= 1e-9 && this.#queue.length > 0) {
        thread.onProcessor = false;
        this.#queue.push(thread);
      }
    }
    this.#assign();
  }

  /** A step, or a time of spinning, is over. */
  #end(thread: Thread): void {
    if (thread.state === "spins") {
      thread.state = "sleeps";
      thread.sleptAt = this.#now;
      thread.onProcessor = false;
      return;
    }
    if (thread.step === "reader" && thread.seen !== this.#writes) {
      this.#begin(thread, "reader");
      return;
    }
    if (thread.step !== "key" && thread.step !== "think" && thread.step !== "compress") {
      this.#free(thread);
    }
    const next = thread.rest.shift();
    if (next === undefined) this.#nextOperation(thread);
    else this.#begin(thread, next);
  }

  #nextOperation(thread: Thread): void {
    thread.done++;
    const { sets, besideShare } = this.#costs;
    const isSet = this.#random.below(1000) < sets;
    thread.key = this.#zipf.draw() % STRIPES;
    thread.rest = isSet ? ["key", "compress", "exclusive"] : ["reader"];
    if (!isSet && this.#random.below(1e6) < besideShare * 1e6) thread.rest.push("beside");
    thread.step = "think";
    thread.leftUs = this.#draw(isSet ? this.#costs.thinkSetUs : this.#costs.thinkGetUs);
    thread.leftUs += thread.owesUs;
    thread.owesUs = 0;
  }

  #begin(thread: Thread, step: Step): void {
    thread.step = step;
    if (this.#take(thread)) this.#work(thread);
    else {
      thread.state = "spins";
      thread.leftUs = this.#machine.spinUs;
    }
  }

  #work(thread: Thread): void {
    const { keyUs, exclusiveUs, readerUs, besideUs } = this.#costs;
    const means = { think: 0, key: 0, compress: keyUs, exclusive: exclusiveUs, reader: readerUs };
    thread.state = "works";
    thread.leftUs = this.#draw(thread.step === "beside" ? besideUs : means[thread.step]);
  }

  /** Takes what a step needs. @returns whether it was free */
  #take(thread: Thread): boolean {
    const { step, holds, key } = thread;
    if (step === "key") {
      if (this.#keyOwners.has(key)) return false;
      this.#keyOwners.set(key, thread);
      holds.key = true;
    } else if (step === "reader") {
      if (this.#isWriting) return false;
      thread.seen = this.#writes;
      holds.arena = "reader";
    } else if (step === "exclusive" || step === "beside") {
      if (this.#owner !== undefined && this.#owner !== thread) return false;
      this.#owner = thread;
      holds.arena = step;
      this.#isWriting = step === "exclusive";
      if (this.#isWriting) this.#writes++;
    }
    return true;
  }

  #free(thread: Thread): void {
    const { holds } = thread;
    if (holds.arena !== "reader") {
      this.#owner = undefined;
      this.#isWriting = false;
    }
    holds.arena = "";
    if (holds.key) this.#keyOwners.delete(thread.key);
    holds.key = false;
    this.#wake(thread);
  }

  /** Lets threads that spin take what is free, and wakes sleeping ones. */
  #wake(waker: Thread): void {
    // Which of them sees the free lock first is chance.
    const count = this.#threads.length;
    const first = this.#random.below(count);
    for (let nth = 0; nth < count; nth++) {
      const thread = this.#threads[(first + nth) % count]!;
      if (thread.state === "spins" && thread.onProcessor && this.#take(thread)) this.#work(thread);
    }
    const sleepers = this.#threads.filter((one) => one.state === "sleeps" && one.wakesAt === 0);
    sleepers.sort((a, b) => a.sleptAt - b.sleptAt);
    // One of the threads that wait for a lock is woken, and all readers.
    const woken = new Set<number>();
    for (const thread of sleepers) {
      const { step, key } = thread;
      const lock = step === "key" ? key : -1;
      if (woken.has(lock) || !this.#isFreeFor(thread)) continue;
      if (step !== "reader") woken.add(lock);
      waker.owesUs += this.#machine.wakerUs;
      thread.wakesAt = this.#now + waker.owesUs + this.#machine.wakeUs;
    }
  }

  #isFreeFor(thread: Thread): boolean {
    if (thread.step === "reader") return !this.#isWriting;
    if (thread.step === "key") return !this.#keyOwners.has(thread.key);
    return this.#owner === undefined;
  }

  #wantProcessor(thread: Thread): void {
    thread.wakesAt = 0;
    // It tries again as soon as it runs.
    if (thread.state === "sleeps") thread.state = "spins";
    this.#queue.push(thread);
    this.#assign();
  }

  #assign(): void {
    const { processors, turnUs, switchUs, spinUs } = this.#machine;
    let used = this.#threads.filter(({ onProcessor }) => onProcessor).length;
    for (; used < processors && this.#queue.length > 0; used++) {
      const thread = this.#queue.shift()!;
      thread.onProcessor = true;
      thread.turnLeftUs = turnUs;
      if (thread.state === "spins") {
        if (this.#take(thread)) this.#work(thread);
        else {
          thread.state = "spins";
          thread.leftUs = spinUs;
        }
      }
      thread.leftUs += switchUs;
    }
  }

  #draw(mean: number): number {
    return -mean * Math.log((this.#random.below(1 << 24) + 1) / (1 << 24));
  }
}

/** @returns operations per ms of all threads, and of the slowest ÷ of the fastest */
export function predict(
  costs: Costs,
  machine: Machine,
  threads: number,
  ms = 200,
): { readonly rate: number; readonly slowestByFastest: number } {
  const done = new Model(costs, machine, threads).run(ms * 1000);
  const rate = done.reduce((sum, one) => sum + one, 0) / ms;
  return { rate, slowestByFastest: Math.min(...done) / Math.max(...done) };
}
