// What a node says of its memory, in the answer to INFO memory.
import type { Reply } from "./engine_package.ts";

export interface MemoryInfo {
  readonly usedBytes: number;
  /** 0: no limit. */
  readonly limitBytes: number;
  /** Name of the policy for keys when the limit is reached. */
  readonly policy: string;
}

/** @returns undefined for anything else */
export function parseMemoryInfo(reply: Reply): MemoryInfo | undefined {
  if (!Buffer.isBuffer(reply)) return undefined;
  const text = reply.toString("latin1");
  const used = numberOf(text, "used_memory");
  const limit = numberOf(text, "maxmemory");
  const policy = /^maxmemory_policy:([a-z-]{1,40})\r?$/m.exec(text)?.[1];
  if (used === undefined || limit === undefined || policy === undefined) return undefined;
  return { usedBytes: used, limitBytes: limit, policy };
}

function numberOf(text: string, name: string): number | undefined {
  const match = new RegExp(`^${name}:(\\d{1,15})\\r?$`, "m").exec(text);
  return match === null ? undefined : Number(match[1]);
}

/** Whether a server with this policy may drop keys that have no time to live. */
export function dropsPersistent(policy: string): boolean {
  return policy.startsWith("allkeys-");
}
