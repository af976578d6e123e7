// The worker that trains a dictionary, and measures it on samples that it was not trained from.
import { parentPort, workerData } from "node:worker_threads";
import { MIB } from "../base/units.ts";
import type { Codec } from "../codec/contract.ts";
import { trainDictionary } from "../codec/dictionary/train.ts";
import {
  finalizeZstdDictionary,
  ZSTD_TABLES_BYTES_MAX,
} from "../codec/dictionary/zstd_dictionary.ts";
import { Arena } from "../memory/arena.ts";
import { nodeCodecs } from "../node/codecs.ts";
import type { TrainingJob, TrainingResult } from "./dictionary.ts";

/** Every tenth sample is for the measurement. */
const MEASURED_ONE_OF = 10;
/** A shorter dictionary is not worth its use. */
const CONTENT_BYTES_MIN = 256;
const VALUE_BYTES_MAX = 64 * 1024;

const arena = Arena.create({ sizeBytes: 4 * MIB });
const source = arena.reserve(VALUE_BYTES_MAX);
const target = arena.reserve(VALUE_BYTES_MAX);

parentPort!.postMessage(run(workerData as TrainingJob));

function run(job: TrainingJob): TrainingResult {
  const isMeasured = (_: Uint8Array, nth: number) => nth % MEASURED_ONE_OF === 0;
  const samples = job.ends.map((end, nth) => job.samples.subarray(job.ends[nth - 1] ?? 0, end));
  const measured = samples.filter(isMeasured);
  const trained = samples.filter((sample, nth) => !isMeasured(sample, nth));
  const dictionary = makeDictionary(trained, job.sizeBytes);
  const sampleBytes = measured.reduce((sum, sample) => sum + sample.length, 0);
  const before = packedBytes(job, measured, job.current);
  const packedBytesWith =
    dictionary === undefined ? before : packedBytes(job, measured, dictionary);
  return { dictionary, sampleBytes, packedBytesBefore: before, packedBytesWith };
}

/**
 * In zstd's format, with entropy tables. Other codecs take the tables for content, which costs
 * them little.
 */
function makeDictionary(samples: Uint8Array[], sizeBytes: number): Uint8Array | undefined {
  const content = trainDictionary(samples, sizeBytes - ZSTD_TABLES_BYTES_MAX);
  if (content.length < CONTENT_BYTES_MIN) return undefined;
  return finalizeZstdDictionary(content, samples);
}

function packedBytes(
  job: TrainingJob,
  samples: readonly Uint8Array[],
  dictionary: Uint8Array | undefined,
): number {
  const options = dictionary === undefined ? job.codecOptions : { ...job.codecOptions, dictionary };
  const codec: Codec = nodeCodecs().create(job.codec, arena, options);
  let sum = 0;
  for (const sample of samples) {
    arena.bytes.set(sample, source);
    sum += codec.compress(source, sample.length, target, sample.length) || sample.length;
  }
  return sum;
}
