// The eviction policies by name. A new policy is one line in this table, and is then covered by the
// contract tests and the benchmark.
import type { WordIndex } from "../base/brand.ts";
import { assert, ZcacheError } from "../base/errors.ts";
import type { Arena } from "../memory/arena.ts";
import { Adaptive } from "./adaptive.ts";
import { type EvictionPolicy, POLICY_BITS, type PolicySpace } from "./contract.ts";
import { Fifo, Lru } from "./fifo.ts";
import { S3Fifo } from "./s3_fifo.ts";
import { Sieve } from "./sieve.ts";
import { TinyLfu } from "./tinylfu.ts";

type PolicyClass = new (arena: Arena, at: WordIndex, space: PolicySpace) => EvictionPolicy;

const POLICIES: Readonly<Record<string, PolicyClass>> = {
  "s3-fifo": S3Fifo,
  tinylfu: TinyLfu,
  adaptive: Adaptive,
  sieve: Sieve,
  lru: Lru,
  fifo: Fifo,
};

/** The default policy; docs/decisions/0009-eviction-policy.md has the reasons. */
export const DEFAULT_POLICY = "s3-fifo";

/** The default policy of caches (docs/decisions/0024-adaptive-policy.md). */
export const DEFAULT_VALUE_POLICY = "adaptive";

/** The names that `createPolicy` knows, the default first. */
export function policyNames(): string[] {
  return Object.keys(POLICIES);
}

/**
 * Opens a policy in the calling thread; its creator then calls `format` once.
 * @param at word index of POLICY_WORDS words that the owner provides
 * @param space the same values in all threads
 * @throws ZcacheError ERR_OPTION for an unknown name, listing the known ones
 */
export function createPolicy(
  name: string,
  arena: Arena,
  at: WordIndex,
  space: PolicySpace,
): EvictionPolicy {
  if (!Object.hasOwn(POLICIES, name)) {
    const known = policyNames().join(", ");
    throw new ZcacheError(
      "ERR_OPTION",
      `no eviction policy is called "${name}"; available: ${known}`,
    );
  }
  assert(space.bit >= 0 && space.bit + POLICY_BITS <= 32, "a policy's bits lie within one word");
  return new POLICIES[name]!(arena, at, space);
}
