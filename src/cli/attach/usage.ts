// Who uses an attached device: checked before `detach` changes anything. A loop device that is in
// use would otherwise stay, and lose its daemon.
import { ZcacheError } from "../../base/errors.ts";
import { formatBytes } from "../../base/units.ts";
import type { Context } from "./context.ts";
import type { BlockDevice, Opener } from "./machine.ts";
import type { Attached } from "./state.ts";

/** Processes that an error names. */
const NAMED_MAX = 5;

export function busy(device: string, why: string, cause?: unknown): ZcacheError {
  return new ZcacheError("ERR_BUSY", `${device} is in use: ${why}`, { cause });
}

/**
 * Checks that nothing but what `attach` itself has set up uses the device.
 * @throws ZcacheError ERR_BUSY that says what uses it
 */
export function checkUnused(context: Context, record: Attached): void {
  const { machine } = context;
  const { device, mount, as } = record;
  if (device === undefined) return;
  const blocks = machine.blocks(device);
  for (const { target } of mountsOf(context, blocks)) {
    if (target !== mount) throw busy(device, `it is mounted on ${target}; umount it first`);
  }
  for (const swap of machine.swaps()) {
    const isOurs = as === "swap" && swap.device === device;
    if (isOurs || !blocks.some((block) => block.device === swap.device)) continue;
    throw busy(device, `the system swaps to ${swap.device}; run swapoff first`);
  }
  const holders = blocks.flatMap((block) => block.holders);
  if (holders.length > 0) throw busy(device, `${holders.join(", ")} is made of it`);
  const paths = [...blocks.map((block) => block.device), context.states.pathsOf(record.id).file];
  const openers = machine.openers(paths);
  if (openers.length > 0) throw busy(device, `by ${named(openers)}`);
}

/** The mounts of a device and its partitions. */
export function mountsOf({ machine }: Context, blocks: readonly BlockDevice[]) {
  return machine.mounts().filter(({ number }) => blocks.some((block) => block.number === number));
}

/** Names processes: `bash (12), cat (34)`. */
export function named(openers: readonly Opener[]): string {
  const names = openers.slice(0, NAMED_MAX).map(({ pid, name }) => `${name} (${pid})`);
  const more = openers.length - names.length;
  return more > 0 ? `${names.join(", ")} and ${more} more` : names.join(", ");
}

/**
 * Checks whether the swapped pages can come back: `swapoff` loads them all into memory.
 * @throws ZcacheError ERR_BUSY with the figures
 */
export function checkSwapFits({ machine }: Context, record: Attached, isServed: boolean): void {
  const swap = machine.swaps().find(({ device }) => device === record.device);
  if (swap === undefined || swap.usedBytes === 0) return;
  const used = formatBytes(swap.usedBytes);
  if (!isServed) {
    throw busy(
      swap.device,
      `${used} are swapped to it and lost, because its daemon has ended; the system ends each \
program that needs a lost page; --force detaches the device`,
    );
  }
  const others = machine.swaps().filter(({ device }) => device !== swap.device);
  const freeBytes = others.reduce((sum, one) => sum + one.freeBytes, 0);
  const availableBytes = machine.availableBytes();
  if (swap.usedBytes <= availableBytes + freeBytes) {
    // A group may swap to another device instead, as far as there is room.
    const group = machine.fullGroups().find((one) => one.swappedBytes - one.roomBytes > freeBytes);
    if (group === undefined) return;
    const [swapped, room] = [formatBytes(group.swappedBytes), formatBytes(group.roomBytes)];
    throw busy(
      swap.device,
      `${swapped} of the control group ${group.name} are swapped, and its limit leaves ${room}; \
the system would end its programs; raise the limit, end some programs, or use --force`,
    );
  }
  const rest = others.length === 0 ? "" : ` and ${formatBytes(freeBytes)} in other swap devices`;
  throw busy(
    swap.device,
    `${used} are swapped to it, and there are only ${formatBytes(availableBytes)} of \
memory${rest}; end some programs, or try with --force`,
  );
}
