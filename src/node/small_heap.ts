// Settings of V8 for a process that serves from shared memory and keeps few objects on the heap.
import { setFlagsFromString } from "node:v8";

/**
 * Keeps the heap small in all threads; an early call keeps it smaller.
 *
 * The young generation would grow to 32 MiB over time, whatever is in it. For a server with a limit
 * of 64 MiB that is half as much again, and collections would only be half as frequent.
 *
 * The old generation is collected when it has grown by a fifth, instead of to twice or three times
 * its live objects: ten thousand connections leave 8 MiB of dead ones. A server hardly adds to it,
 * so such collections stay rare.
 */
export function keepHeapSmall(): void {
  setFlagsFromString("--semi-space-growth-factor=1");
  setFlagsFromString("--heap-growing-percent=20");
}
