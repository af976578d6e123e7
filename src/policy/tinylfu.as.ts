// `TinyLfu.push` and `remove` for kernels, with the same words.
import { add, listAdd, listDel, put, word } from "../memory/journal.as";
import * as Policy from "./policy.layout";

/** From the head of a queue to its count (queue.ts). */
const COUNT: u32 = 2;

/** @param policy word index of the policy's words  @param link of an entry that is not listed */
export function tinylfuPush(policy: u32, link: u32): void {
  listAdd(link, policy + Policy.QUEUE);
  add(policy + Policy.QUEUE + COUNT, 1);
}

/** @param bits of the policy in the entry */
export function tinylfuRemove(policy: u32, link: u32, bits: u32): void {
  if (word(link) == link) return;
  if (word(policy + Policy.HAND) == link) put(policy + Policy.HAND, word(link + 1));
  listDel(link);
  const queue = policy + ((bits & Policy.MAIN_BIT) != 0 ? Policy.MAIN : Policy.QUEUE);
  add(queue + COUNT, -1);
}
