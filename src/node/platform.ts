// What the library takes from Node.
//
// 1. platform.ts      the platform of a store: threads, clock, random numbers, codecs, files
// 2. stores.ts        makes and attaches stores; maintainer_worker.ts: the worker that makes room
// 3. scheduler.ts     background work by named tasks; scan_rounds.ts: rounds of the idle scan
// 4. codecs.ts        the registry of codecs; codecs/: the native and WebAssembly ones
// 5. file_device.ts   the write-back file; file_lock.ts: one process at a time; signature.ts
// 6. threads.ts       which threads live; workers.ts: starts workers
// 7. internal_errors.ts  counts and logs unexpected errors
// 8. net/             listening, stale sockets, limits of connections
// 9. inputs.ts, processes.ts, text_stream.ts  files, memory of processes and text to analyze
//
// Concurrency: timers and listeners run in the thread that made them; one thread opens a file, and
// all threads use it. The limits are constants of each file.
import { randomInt } from "node:crypto";
import { platformClock } from "../base/clock.ts";
import type { StorePlatform } from "../store/platform.ts";
import { nodeCodecs } from "./codecs.ts";
import { FileDevice, removeWriteBackFiles } from "./file_device.ts";
import { releaseArena } from "./give_back.ts";
import { nodeThreads } from "./threads.ts";

/** Numbers below this have 32 bits. */
const RANDOM_END = 2 ** 32;

/** 32 random bits. */
export function random32(): number {
  return randomInt(RANDOM_END) | 0;
}

export function nodePlatform(): StorePlatform {
  return {
    threads: nodeThreads(),
    // Windows counts all memory that could be touched.
    reservesFreely: process.platform !== "win32",
    releaseArena,
    clock: platformClock,
    random: random32,
    codecs: () => nodeCodecs(),
    openDevice: (options) => FileDevice.open(options),
    removeDevices: removeWriteBackFiles,
    attachDevice: (share) => FileDevice.attach(share),
  };
}
