// Keeps a cache's dictionary: takes samples of what comes in, lets a worker train one from them,
// and uses it where it pays. Later it tries again, with samples of what comes in by then.
import type { Worker } from "node:worker_threads";
import { NIL } from "../base/brand.ts";
import { ZcacheError } from "../base/errors.ts";
import { KIB, MIB } from "../base/units.ts";
import type { CodecOptions } from "../codec/contract.ts";
import { startWorker, workerError } from "../node/reserved_fds.ts";
import type { Values } from "../values/values.ts";

/** What came of making a dictionary: bytes of the samples that it was tried on. */
export interface DictionaryReport {
  readonly used: boolean;
  readonly sampleBytes: number;
  readonly packedBytesBefore: number;
  readonly packedBytesWith: number;
}

/** What the worker gets, and what it gives back. */
export interface TrainingJob {
  /** One sample after the other. */
  readonly samples: Uint8Array;
  /** Where each of them ends. */
  readonly ends: readonly number[];
  readonly sizeBytes: number;
  readonly codec: string;
  readonly codecOptions: CodecOptions;
  /** The one in use, to be compared with. */
  readonly current: Uint8Array | undefined;
}

export interface TrainingResult {
  readonly dictionary: Uint8Array | undefined;
  readonly sampleBytes: number;
  readonly packedBytesBefore: number;
  readonly packedBytesWith: number;
}

/** Values that a dictionary may help with. */
const SAMPLE_BYTES_MIN = 64;
const SAMPLE_BYTES_MAX = 16 * KIB;
/** Training begins with so many bytes of samples: some thirty times the dictionary. */
const SAMPLES_BYTES = 2 * MIB;
/**
 * A new dictionary must make what it is tried on smaller by this part, the first and later ones.
 */
const FIRST_GAIN = 0.05;
const LATER_GAIN = 0.03;
/** Values that come in until the next is tried: so many, and then four times as many each time. */
const RETRY_VALUES = 50_000;
const RETRY_FACTOR = 4;

const EXTENSION = import.meta.url.endsWith(".ts") ? "ts" : "js";

export class DictionaryKeeper {
  readonly #values: Values;
  readonly #sizeBytes: number;
  readonly #codec: string;
  readonly #codecOptions: CodecOptions;
  readonly #onReport: (report: DictionaryReport) => void;
  readonly #onFault: (error: ZcacheError) => void;
  /**
   * In one piece, which the worker is given and takes with it when it ends: thousands of small ones
   * would lie between what stays, and keep the heap of the C library as large as it has been.
   */
  #samples = new Uint8Array(0);
  #ends: number[] = [];
  #untilNext = 0;
  #retry = RETRY_VALUES;
  #current: Uint8Array | undefined;
  #training: Promise<DictionaryReport> | undefined;
  #worker: Worker | undefined;
  #isStopped = false;

  /** @param onFault hears of a training that failed and that nobody had asked for */
  constructor(
    values: Values,
    sizeBytes: number,
    codec: string,
    codecOptions: CodecOptions,
    onReport: (report: DictionaryReport) => void,
    onFault: (error: ZcacheError) => void,
  ) {
    this.#values = values;
    this.#sizeBytes = sizeBytes;
    this.#codec = codec;
    this.#codecOptions = codecOptions;
    this.#onReport = onReport;
    this.#onFault = onFault;
  }

  /** One is in use already: the next is tried when as much has come in as after any other. */
  adopt(dictionary: Uint8Array): void {
    this.#current = dictionary;
    this.#untilNext = RETRY_VALUES;
  }

  /** A value has come in. */
  offer(at: number, count: number): void {
    if (this.#untilNext > 0) {
      this.#untilNext--;
      return;
    }
    if (count < SAMPLE_BYTES_MIN || count > SAMPLE_BYTES_MAX || this.#training !== undefined)
      return;
    if (this.#ends.length === 0) this.#samples = new Uint8Array(SAMPLES_BYTES + SAMPLE_BYTES_MAX);
    const end = this.#ends.at(-1) ?? 0;
    this.#samples.set(this.#values.bytes.subarray(at, at + count), end);
    this.#ends.push(end + count);
    if (end + count < SAMPLES_BYTES) return;
    this.#begin().then(this.#onReport, (error: ZcacheError) => {
      if (!this.#isStopped) this.#onFault(error);
    });
  }

  /**
   * Makes a dictionary of the samples that there are, and uses it if it pays. Who asks for it waits
   * for it: until then the process stays alive.
   * @throws ZcacheError as a rejection: ERR_WORKER; ERR_STORE_CLOSED if the cache was closed
   */
  train(): Promise<DictionaryReport> {
    const training = this.#begin();
    this.#worker?.ref();
    return training;
  }

  #begin(): Promise<DictionaryReport> {
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

  stop(): void {
    this.#isStopped = true;
    void this.#worker?.terminate();
  }

  async #tryToTrain(): Promise<DictionaryReport> {
    try {
      return await this.#train();
    } catch (cause) {
      if (this.#isStopped || this.#values.store.isClosed) {
        throw new ZcacheError("ERR_STORE_CLOSED", "the cache was closed during the training", {
          cause,
        });
      }
      if (cause instanceof ZcacheError) throw cause;
      throw workerError("the training of a dictionary", cause);
    }
  }

  async #train(): Promise<DictionaryReport> {
    const result = await this.#work({
      samples: this.#samples,
      ends: this.#ends,
      sizeBytes: this.#sizeBytes,
      codec: this.#codec,
      codecOptions: this.#codecOptions,
      current: this.#current,
    });
    const { dictionary, sampleBytes, packedBytesBefore, packedBytesWith } = result;
    const gain = this.#current === undefined ? FIRST_GAIN : LATER_GAIN;
    const pays = packedBytesWith <= packedBytesBefore * (1 - gain);
    const { dictionaries } = this.#values;
    const used = pays && dictionary !== undefined && dictionaries.add(dictionary) !== NIL;
    if (used) this.#current = dictionary;
    return { used, sampleBytes, packedBytesBefore, packedBytesWith };
  }

  #work(job: TrainingJob): Promise<TrainingResult> {
    const url = new URL(`./dictionary_worker.${EXTENSION}`, import.meta.url);
    const worker = startWorker(url, {
      workerData: job,
      transferList: [job.samples.buffer as ArrayBuffer],
    });
    // A training that nobody waits for does not keep the process alive.
    worker.unref();
    this.#worker = worker;
    return new Promise((resolve, reject) => {
      worker.once("message", resolve);
      worker.once("error", reject);
      worker.once("exit", () => reject(new Error("its thread has ended")));
    });
  }
}
