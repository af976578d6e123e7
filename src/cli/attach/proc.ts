// Reads tables of /proc: mounts, swap devices, memory.
import type { Mount, Swap } from "./machine.ts";

const KIB = 1024;

/** A name in a table of /proc, where spaces and backslashes are octal: `\040`. */
function unescaped(name: string): string {
  return fromBytes(
    name.replace(/\\([0-7]{3})/g, (_, octal: string) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    ),
  );
}

/** Text that was read with one character for a byte. */
export function fromBytes(text: string): string {
  return Buffer.from(text, "latin1").toString("utf8");
}

/** @param text of /proc/self/mountinfo, one character for a byte */
export function parseMounts(text: string): Mount[] {
  return text.split("\n").flatMap((line) => {
    const [fields = "", rest] = line.split(" - ");
    const [, , number, , target] = fields.split(" ");
    const type = rest?.split(" ")[0];
    if (number === undefined || target === undefined || type === undefined) return [];
    return [{ number, target: unescaped(target), type }];
  });
}

/** @param text of /proc/swaps */
export function parseSwaps(text: string): Swap[] {
  return text.split("\n").flatMap((line) => {
    const match = /^(\/\S+)\s+\S+\s+(\d+)\s+(\d+)\s/.exec(line);
    if (match === null) return [];
    const [size, used] = [Number(match[2]) * KIB, Number(match[3]) * KIB];
    return [{ device: unescaped(match[1]!), usedBytes: used, freeBytes: size - used }];
  });
}

/** The files that a process has mapped. @param text of /proc/PID/maps */
export function parseMappedFiles(text: string): string[] {
  return text.split("\n").flatMap((line) => {
    const path = /^(?:\S+ +){5}(\/.*)$/.exec(line)?.[1];
    return path === undefined ? [] : [fromBytes(path)];
  });
}

/** @param text of /proc/meminfo */
export function parseAvailable(text: string): number {
  return Number(/^MemAvailable:\s+(\d+) kB/m.exec(text)?.[1] ?? 0) * KIB;
}

/** Whether a signal is handled. @param text of /proc/PID/status */
export function parseHandles(text: string, signal: number): boolean {
  const mask = /^SigCgt:\s+([0-9a-f]+)/m.exec(text)?.[1];
  return mask !== undefined && ((BigInt(`0x${mask}`) >> BigInt(signal - 1)) & 1n) === 1n;
}
