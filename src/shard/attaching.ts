// What the shards of a store share while a thread opens all of them: each would ask the platform
// for the same things once more.
import type { Threads } from "../base/threads.ts";
import type { CodecRegistry } from "../codec/registry.ts";
import type { StorePlatform } from "../store/platform.ts";
import { KernelSwitch } from "../wasm/kernel_switch.ts";

/**
 * Opens shards on a platform that makes one registry of codecs for all of them and, until `open`
 * returns, asks once for each thread whether it may run.
 */
export function openTogether<T>(
  platform: StorePlatform,
  shards: number,
  open: (shared: StorePlatform) => T,
): T {
  const { threads } = platform;
  const alive = new Set<number>();
  let isOpening = true;
  let registry: CodecRegistry | undefined;
  const remembering: Threads = {
    processors: threads.processors,
    self: () => threads.self(),
    mayRun: (name) => {
      if (isOpening && alive.has(name)) return true;
      const mayRun = threads.mayRun(name);
      if (isOpening && mayRun) alive.add(name);
      return mayRun;
    },
  };
  const codecs = () => {
    registry ??= platform.codecs();
    return registry;
  };
  try {
    return open({
      ...(shards === 1 ? platform : switched(platform)),
      threads: remembering,
      codecs,
    });
  } finally {
    isOpening = false;
    alive.clear();
  }
}

/** A platform for all shards of a store, which calls their kernels through one switch. */
export function switched(platform: StorePlatform): StorePlatform {
  return { ...platform, kernelSwitch: new KernelSwitch() };
}
