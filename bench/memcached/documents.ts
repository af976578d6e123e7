// JSON documents as caches hold them, of half a kilobyte to eight; a function of their number. To be
// replaced by those of the cache bench once both stand on one branch.
import { Xorshift32 } from "../../src/base/random.ts";

const WORDS = (
  "order customer invoice shipped pending total address street city country price amount " +
  "currency created updated status article product category description quantity discount"
).split(" ");

export function documentOf(number: number): Buffer {
  const random = new Xorshift32(number * 2_654_435_761 + 1);
  const words = (count: number) =>
    Array.from({ length: count }, () => WORDS[random.below(WORDS.length)]).join(" ");
  const size = 1 + Math.floor(18 * (random.below(1000) / 1000) ** 2.9);
  const entries = Array.from({ length: size }, () => ({
    id: random.next().toString(16).padStart(8, "0"),
    createdAt: new Date(1_704_067_200_000 + random.below(31_536_000) * 1000).toISOString(),
    amount: random.below(1_000_000) / 100,
    title: words(6),
    description: words(20 + random.below(20)),
  }));
  return Buffer.from(JSON.stringify({ number, owner: random.next().toString(36), entries }));
}
