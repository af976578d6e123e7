// Dictionaries of a cache: collects samples of new values, lets a worker train a dictionary from
// them, and uses it for new values if it saves enough. The training is repeated later, with samples
// of the values that come in by then.
import type { Worker } from "node:worker_threads";
import { NIL } from "../base/brand.ts";
import { ZcacheError } from "../base/errors.ts";
import { KIB, MIB } from "../base/units.ts";
import type { CodecOptions } from "../codec/contract.ts";
import { startWorker, workerError } from "../node/workers.ts";
import type { Values } from "../values/values.ts";
import { WORKER } from "./dictionary_worker.binary.ts";

/** The result of a training, measured on samples that the dictionary was not trained from. */
export interface DictionaryReport {
  /** Whether it is in use now: the first must save 5 % of the samples, later ones 3 %. */
  readonly used: boolean;
  /** Bytes of the samples. */
  readonly sampleBytes: number;
  /** Bytes of the compressed samples with the previous dictionary, if any. */
  readonly packedBytesBefore: number;
  /** Bytes of the compressed samples with the new dictionary. */
  readonly packedBytesWith: number;
}

/** What dictionaries are trained for. */
export interface DictionaryOptions {
  /** Size of a dictionary at most. */
  readonly sizeBytes: number;
  readonly codec: string;
  readonly codecOptions: CodecOptions;
}

/** The data of the worker. */
export interface TrainingJob extends DictionaryOptions {
  /** All samples, one after the other. */
  readonly samples: Uint8Array;
  /** Where each sample ends. */
  readonly ends: readonly number[];
  /** The dictionary in use, to compare with. */
  readonly current: Uint8Array | undefined;
}

/** The message of the worker. */
export interface TrainingResult {
  /** Undefined: the samples have too little in common. */
  readonly dictionary: Uint8Array | undefined;
  readonly sampleBytes: number;
  readonly packedBytesBefore: number;
  readonly packedBytesWith: number;
}

/** Sizes of values for which a dictionary may help. */
const SAMPLE_BYTES_MIN = 64;
const SAMPLE_BYTES_MAX = 16 * KIB;
/** A training starts with this many bytes of samples, about thirty times the dictionary. */
const SAMPLES_BYTES = 2 * MIB;
/** The part by which the first and a later dictionary must make samples smaller to be used. */
const FIRST_GAIN = 0.05;
const LATER_GAIN = 0.03;
/** New values until the next training; four times as many after each. */
const RETRY_VALUES = 50_000;
const RETRY_FACTOR = 4;

export class DictionaryTrainer {
  readonly #shards: readonly Values[];
  readonly #options: DictionaryOptions;
  readonly #onReport: (report: DictionaryReport) => void;
  readonly #onFault: (error: ZcacheError) => void;
  /**
   * One block, which is transferred to the worker and freed with it. Thousands of small arrays
   * would lie between longer-lived memory and keep the heap of the C library at its peak.
   */
  #samples = new Uint8Array(0);
  #ends: number[] = [];
  /** New values that are not sampled before the next training. */
  #untilNext = 0;
  #retry = RETRY_VALUES;
  #current: Uint8Array | undefined;
  #training: Promise<DictionaryReport> | undefined;
  #worker: Worker | undefined;
  #isStopped = false;

  /**
   * @param shards all shards of the store, which have the same dictionaries
   * @param onReport told of each training that started by itself and ended
   * @param onFault told of each training that started by itself and failed
   */
  constructor(
    shards: readonly Values[],
    options: DictionaryOptions,
    onReport: (report: DictionaryReport) => void,
    onFault: (error: ZcacheError) => void,
  ) {
    this.#shards = shards;
    this.#options = options;
    this.#onReport = onReport;
    this.#onFault = onFault;
  }

  /** A recovered dictionary is in use: the next training waits as after any other. */
  adopt(dictionary: Uint8Array): void {
    this.#current = dictionary;
    this.#untilNext = RETRY_VALUES;
  }

  /** A new value stands at this address of a memory. May copy it, and may start a training. */
  sample(bytes: Uint8Array, at: number, count: number): void {
    if (this.#untilNext > 0) {
      this.#untilNext--;
      return;
    }
    if (count < SAMPLE_BYTES_MIN || count > SAMPLE_BYTES_MAX || this.#training !== undefined)
      return;
    if (this.#ends.length === 0) this.#samples = new Uint8Array(SAMPLES_BYTES + SAMPLE_BYTES_MAX);
    const end = this.#ends.at(-1) ?? 0;
    this.#samples.set(bytes.subarray(at, at + count), end);
    this.#ends.push(end + count);
    if (end + count < SAMPLES_BYTES) return;
    this.#start().then(this.#onReport, (error: ZcacheError) => {
      if (!this.#isStopped) this.#onFault(error);
    });
  }

  /** Whether `sample` would do nothing with the next so many values. */
  isIdle(values: number): boolean {
    return this.#untilNext >= values || this.#training !== undefined;
  }

  /** Counts new values that `sample` is not called for. */
  skip(values: number): void {
    this.#untilNext = Math.max(0, this.#untilNext - values);
  }

  /**
   * Trains a dictionary from the samples collected so far, or joins the training in progress.
   * Unlike a training that starts by itself, it keeps the process alive.
   * @throws ZcacheError as a rejection: ERR_WORKER; ERR_STORE_CLOSED if the cache was closed
   */
  train(): Promise<DictionaryReport> {
    const training = this.#start();
    this.#worker?.ref();
    return training;
  }

  /** Ends the training in progress, and starts none any more. */
  stop(): void {
    this.#isStopped = true;
    void this.#worker?.terminate();
  }

  #start(): Promise<DictionaryReport> {
    this.#training ??= this.#tryToTrain().finally(() => {
      this.#training = undefined;
      this.#worker = undefined;
      this.#samples = new Uint8Array(0);
      this.#ends = [];
      this.#untilNext = this.#retry;
      this.#retry *= RETRY_FACTOR;
    });
    return this.#training;
  }

  async #tryToTrain(): Promise<DictionaryReport> {
    try {
      return await this.#train();
    } catch (cause) {
      if (this.#isStopped || this.#shards.some(({ store }) => store.isClosed)) {
        throw new ZcacheError("ERR_STORE_CLOSED", "the cache was closed during the training", {
          cause,
        });
      }
      if (cause instanceof ZcacheError) throw cause;
      throw workerError("the training of a dictionary", cause);
    }
  }

  async #train(): Promise<DictionaryReport> {
    const result = await this.#runWorker({
      ...this.#options,
      samples: this.#samples,
      ends: this.#ends,
      current: this.#current,
    });
    const { dictionary, sampleBytes, packedBytesBefore, packedBytesWith } = result;
    const gain = this.#current === undefined ? FIRST_GAIN : LATER_GAIN;
    const pays = packedBytesWith <= packedBytesBefore * (1 - gain);
    const used = pays && dictionary !== undefined && this.#install(dictionary);
    if (used) this.#current = dictionary;
    return { used, sampleBytes, packedBytesBefore, packedBytesWith };
  }

  /** @returns whether it is in use in any shard: one without room for it goes on as before */
  #install(dictionary: Uint8Array): boolean {
    const added = this.#shards.filter(({ dictionaries }) => dictionaries.add(dictionary) !== NIL);
    return added.length > 0;
  }

  #runWorker(job: TrainingJob): Promise<TrainingResult> {
    const worker = startWorker(WORKER, {
      workerData: job,
      transferList: [job.samples.buffer as ArrayBuffer],
    });
    worker.unref();
    this.#worker = worker;
    return new Promise((resolve, reject) => {
      worker.once("message", resolve);
      worker.once("error", reject);
      worker.once("exit", () => reject(new Error("its thread has ended")));
    });
  }
}
