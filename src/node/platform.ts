// What a store needs of Node, put together.
import { randomInt } from "node:crypto";
import { platformClock } from "../base/clock.ts";
import type { StorePlatform } from "../store/platform.ts";
import { nodeCodecs } from "./codecs.ts";
import { FileDevice } from "./file_device.ts";
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
    clock: platformClock,
    random: random32,
    codecs: () => nodeCodecs(),
    openDevice: (options) => FileDevice.open(options),
    attachDevice: (share) => FileDevice.attach(share),
  };
}
