// What a store needs of Node, put together.
import { randomInt } from "node:crypto";
import { platformClock } from "../base/clock.ts";
import type { StorePlatform } from "../store/platform.ts";
import { nodeCodecs } from "./codecs.ts";
import { FileDevice } from "./file_device.ts";
import { nodeThreads } from "./threads.ts";

/** 32 random bits come as a number below 2³². */
const RANDOM_END = 2 ** 32;

export function nodePlatform(): StorePlatform {
  return {
    threads: nodeThreads(),
    clock: platformClock,
    random: () => randomInt(RANDOM_END) | 0,
    codecs: () => nodeCodecs(),
    openDevice: (options) => FileDevice.open(options),
    attachDevice: (share) => FileDevice.attach(share),
  };
}
