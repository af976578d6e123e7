// `push` and `remove` of tinylfu and adaptive for kernels, with the same words. Because of what the
// words of tinylfu hold, its entries go to the window, and nothing else is done (policy.layout.ts).
import { add, listAdd, listDel, put, setWord, word } from "../memory/journal.as";
import * as Mini from "./miniatures.layout";
import * as Policy from "./policy.layout";

/**
 * `Miniatures.isUpdateDue`: the next `push` is not for kernels.
 * @param policy word index of the policy's words
 */
export function isUpdateDue(policy: u32): bool {
  const directory = word(policy + Policy.MINIATURES);
  if (directory == 0) return false;
  const minis = word(directory);
  return word(minis + Mini.RING_NEXT) - word(minis + Mini.RING_READ) >= <u32>Mini.UPDATE_AT;
}

/** Whether `recordStored` has an effect. */
// @ts-ignore: decorator
@inline
export function hasMiniatures(policy: u32): bool {
  return word(policy + Policy.MINIATURES) != 0;
}

/**
 * `Miniatures.record`, of a page that is stored; there are miniatures.
 * @param frameShift log₂ of the words of a frame
 */
export function recordStored(policy: u32, hash: u32, sizeBytes: u32, frameShift: u32): void {
  const directory = word(policy + Policy.MINIATURES);
  const minis = word(directory);
  if ((hash * <u32>Mini.SPREAD) >>> (32 - word(minis + Mini.SHIFT)) != 0) return;
  const next = word(minis + Mini.RING_NEXT);
  const nth = <u32>Mini.RING_AT + (next & word(minis + Mini.RING_MASK)) * <u32>Mini.RECORD_WORDS;
  const at = word(directory + (nth >>> frameShift)) + (nth & ((1 << frameShift) - 1));
  setWord(at + Mini.RECORD_HASH, hash);
  setWord(at + Mini.RECORD_SIZE, sizeBytes);
  setWord(minis + Mini.RING_NEXT, next + 1);
}

/** The policy's bits of an entry that is pushed next. */
// @ts-ignore: decorator
@inline
export function bitsOfNew(policy: u32): u32 {
  return word(policy + Policy.CAPACITY) == 0 ? Policy.MAIN_BIT : 0;
}

/** @param link of an entry that is not listed and has these bits */
export function pushEntry(policy: u32, link: u32, bits: u32): void {
  if (word(policy + Policy.LOWEST) == 0) {
    const inWindow = word(policy + Policy.QUEUE + Policy.COUNT);
    const inMain = word(policy + Policy.MAIN + Policy.COUNT);
    put(policy + Policy.LOWEST, max<u32>(1, inWindow + inMain));
  }
  const queue = queueOf(policy, bits);
  listAdd(link, queue);
  add(queue + Policy.COUNT, 1);
}

/** @param bits of the policy in the entry */
export function removeEntry(policy: u32, link: u32, bits: u32): void {
  if (word(link) == link) return;
  if (word(policy + Policy.HAND) == link) put(policy + Policy.HAND, word(link + 1));
  listDel(link);
  add(queueOf(policy, bits) + Policy.COUNT, -1);
}

// @ts-ignore: decorator
@inline
function queueOf(policy: u32, bits: u32): u32 {
  return policy + ((bits & Policy.MAIN_BIT) != 0 ? Policy.MAIN : Policy.QUEUE);
}
