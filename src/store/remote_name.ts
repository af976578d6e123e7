// The names of records as the remote tier has them, and back.
//
//   run    POOL.SHAPE.ID.RUN       of 32 neighbouring pages of an object, which share a hash slot
//   name   INDEX.VERSION           all numbers in lower-case hexadecimal
import type { RecordName } from "../backing/record_name.ts";
import type { RemoteKey } from "../backing/remote_contract.ts";

/**
 * Pages of a run: 2 to this. So few that an object's pages spread over all masters, and so many
 * that reads in order go to one node at a time.
 */
const RUN_SHIFT = 5;
const RUN_MASK = (1 << RUN_SHIFT) - 1;
const ID_WORDS = 6;

export function remoteKeyOf(name: RecordName): RemoteKey {
  const { id, idShape, indexLow, indexHigh } = name.key;
  let last = ID_WORDS - 1;
  while (last > 0 && id[last] === 0) last--;
  let text = `${hex(name.pool)}.${hex(idShape)}.`;
  for (let word = 0; word <= last; word++) text += word === 0 ? hex(id[0]!) : `-${hex(id[word]!)}`;
  const index = wide(indexHigh, indexLow);
  return {
    epoch: name.epoch,
    run: `${text}.${wide(indexHigh, indexLow & ~RUN_MASK)}`,
    name: `${index}.${wide(name.versionHigh, name.versionLow)}`,
  };
}

const RUN = /^([\da-f]{1,8})\.([\da-f]{1,8})\.([\da-f]{1,8}(?:-[\da-f]{1,8}){0,5})\.[\da-f]{1,16}$/;
const NAME = /^([\da-f]{1,16})\.([\da-f]{1,12})$/;

/** @returns undefined for a key that no store has made; META is 0 */
export function recordNameOf({ epoch, run, name }: RemoteKey): RecordName | undefined {
  const runParts = RUN.exec(run);
  const nameParts = NAME.exec(name);
  if (runParts === null || nameParts === null) return undefined;
  const id = new Int32Array(ID_WORDS);
  id.set(runParts[3]!.split("-").map((word) => Number.parseInt(word, 16) | 0));
  const [indexHigh, indexLow] = halves(nameParts[1]!);
  const [versionHigh, versionLow] = halves(nameParts[2]!);
  return {
    pool: Number.parseInt(runParts[1]!, 16) | 0,
    key: { id, idShape: Number.parseInt(runParts[2]!, 16), indexLow, indexHigh },
    meta: 0,
    versionLow,
    versionHigh,
    epoch,
  };
}

function hex(word: number): string {
  return (word >>> 0).toString(16);
}

function wide(high: number, low: number): string {
  return high === 0 ? hex(low) : hex(high) + hex(low).padStart(8, "0");
}

function halves(text: string): [high: number, low: number] {
  const high = text.length > 8 ? Number.parseInt(text.slice(0, -8), 16) | 0 : 0;
  return [high, Number.parseInt(text.slice(-8), 16) | 0];
}
