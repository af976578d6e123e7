// Settings and statistics of served block devices, by the names of the kernel's files for zram
// where it has one.
import { ZcacheError } from "../base/errors.ts";
import type { Knob } from "../base/knob.ts";
import { parseSize } from "../base/units.ts";
import type { Store } from "../store/store.ts";
import { BLOCK_STATE_PAGES, blockState } from "./block_state.ts";
import {
  type Commands,
  isCommand,
  rangeOf,
  recompressCommand,
  wholeOf,
  writeBackCommand,
} from "./commands.ts";
import { PAGE_TYPES, type PageType, type ZramIdleScan } from "./idle_scan.ts";
import { PostProcess } from "./post_process.ts";
import { statLine } from "./stat.ts";
import type { Zram } from "./zram.ts";

export interface ZramParts {
  readonly store: Store;
  readonly exports: readonly { readonly name: string; readonly device: Zram }[];
  readonly idleScan: ZramIdleScan;
  readonly codec: string;
  readonly denseCodec: string;
  /** The most that the memory limit can be changed to, in bytes. */
  readonly limitMax: number;
}

const SECONDS_MAX = 365 * 24 * 3600;
/** The most frames that one call of `compact` frees: the main thread waits for it. */
const COMPACT_FRAMES = 1 << 20;

export function zramKnobs(parts: ZramParts): Knob[] {
  const { store } = parts;
  const remote = store.options.remote === undefined ? [] : remoteKnobs(store);
  const commands = commandsOf(parts);
  return [
    ...deviceKnobs(parts),
    ...memoryKnobs(parts),
    ...idleScanKnobs(parts, commands),
    ...limitKnobs(parts),
    ...commandKnobs(parts, commands),
    ...pageKnobs(parts),
    ...remote,
  ];
}

function commandsOf({ store, idleScan, denseCodec }: ZramParts): Commands {
  return {
    process: new PostProcess(store, idleScan.mark),
    settings: idleScan.settings,
    denseCodec,
    unit: store.pageSize / 4096,
  };
}

/** Of each device: its size, and how to drop its data. */
function deviceKnobs({ exports }: ZramParts): Knob[] {
  return exports.flatMap(({ name, device }) => {
    const suffix = name === "" ? "" : `:${name}`;
    return [
      {
        name: `disksize${suffix}`,
        describe: "bytes of the device; clients see a new size when they connect again",
        get: () => String(device.sizeBytes),
        set: (text) => {
          const size = parseSize(text, "disksize");
          if (device.resize(size) === 0) return;
          throw new ZcacheError("ERR_ARENA_FULL", "no memory to zero the rest of the last page");
        },
      },
      {
        name: `reset${suffix}`,
        describe: "1 drops all data of the device",
        get: () => "0",
        set: (text) => {
          checkOne("reset", text);
          device.reset();
        },
      },
      { name: `io_stat${suffix}`, describe: IO_STAT, get: () => statLine(device.ioStat()) },
      {
        name: `initstate${suffix}`,
        describe: "1: the device has its size, from the start on",
        get: () => "1",
      },
    ] satisfies Knob[];
  });
}

const IO_STAT = "failed_reads failed_writes invalid_io notify_free";
const MM_STAT =
  "orig_data_size compr_data_size mem_used_total mem_limit mem_used_max same_pages " +
  "pages_compacted huge_pages huge_pages_since";

function memoryKnobs({ store, exports, codec, denseCodec, limitMax }: ZramParts): Knob[] {
  const { device } = exports[0]!;
  return [
    {
      name: "mem_limit",
      describe: "bytes that all devices may use, everything counted; 0: all of --memory-max",
      get: () => String(device.mmStat().mem_limit),
      // As in zram, 0 is no limit of its own.
      set: (text) => {
        const bytes = parseSize(text, "mem_limit") || store.options.memoryMax;
        if (bytes <= limitMax) return store.limit(bytes);
        throw new ZcacheError(
          "ERR_OPTION",
          `mem_limit "${text}": the daemon can grow to ${limitMax} bytes, and more needs a \
restart with a larger memory-max-ceiling`,
        );
      },
    },
    {
      name: "mem_used_max",
      describe: "the most bytes in use at once; 0 lets it begin anew",
      get: () => String(device.mmStat().mem_used_max),
      set: (text) => {
        wholeOf("mem_used_max", text, 0, 0);
        for (const { arena } of store.shards) arena.frames.resetPeak();
      },
    },
    { name: "mm_stat", describe: MM_STAT, get: () => statLine(device.mmStat()) },
    {
      name: "bd_stat",
      describe: "bd_count bd_reads bd_writes, in units of 4 KiB",
      get: () => statLine(device.bdStat()),
    },
    {
      name: "compact",
      describe: "1 compacts the pools; dense pools have nothing to compact",
      get: () => "0",
      set: (text) => {
        checkOne("compact", text);
        store.compact(COMPACT_FRAMES);
      },
    },
    {
      name: "backing_dev",
      describe: "the write-back file, or none",
      get: () => store.options.writeBack?.path ?? "none",
    },
    {
      name: "algorithm_params",
      describe: "levels that were set, of comp_algorithm (priority 0) and recomp_algorithm (1)",
      get: () => paramsOf(store),
    },
    { name: "comp_algorithm", describe: "the codec of new pages", get: () => codec },
    { name: "recomp_algorithm", describe: "the codec of recompression", get: () => denseCodec },
  ];
}

/** The words that the kernel's file takes; the kernel's cannot be read. */
function paramsOf({ options }: Store): string {
  const codecs = [options, options.recompress];
  return codecs
    .flatMap((one, priority) => {
      const level = one?.codecOptions.level;
      return level === undefined ? [] : `algo=${one!.codec} priority=${priority} level=${level}`;
    })
    .join("; ");
}

/** Of the remote tier, with RAMster's name. All pages of devices are persistent. */
function remoteKnobs(store: Store): Knob[] {
  return [
    {
      name: "pers_remotify_enable",
      describe:
        "1: cold pages go to the cluster; 0: they stay, and those that are there stay there",
      get: () => (store.stats().remote!.pers_remotify_enable ? "1" : "0"),
      set: (text) => {
        store.remotify({ persistent: wholeOf("pers_remotify_enable", text, 0, 1) === 1 });
      },
    },
  ];
}

/** Of each device: what its pages are. */
function pageKnobs({ store, exports, idleScan }: ZramParts): Knob[] {
  return exports.map(({ name, device }) => ({
    name: `block_state${name === "" ? "" : `:${name}`}`,
    describe: "A-B prints a line for each stored page of a range, as the kernel's debugfs file",
    get: () => "",
    run: async (text) => {
      const end = Math.ceil(device.sizeBytes / device.pageSize);
      const range = rangeOf("block_state", text, end - 1, BLOCK_STATE_PAGES);
      return await blockState(store, device, range, idleScan);
    },
  }));
}

/** Of each device with a name: commands on its pages alone. */
function commandKnobs(parts: ZramParts, commands: Commands): Knob[] {
  const named = parts.exports.filter(({ name }) => name !== "");
  return named.flatMap(({ name, device }) => {
    const done = { recompress: "", writeback: "" };
    return [
      {
        name: `recompress:${name}`,
        describe: "recompresses pages of the device, as recompress with words; what was done last",
        get: () => done.recompress,
        run: async (text) => {
          checkAble("recompress", parts.denseCodec !== "none", "--recompress");
          done.recompress = await recompressCommand(commands, [device], text);
          return done.recompress;
        },
      },
      {
        name: `writeback:${name}`,
        describe: "writes pages of the device to the file, as writeback with words; likewise",
        get: () => done.writeback,
        run: async (text) => {
          checkAble("writeback", hasFile(parts.store), "--write-back");
          done.writeback = await writeBackCommand(commands, [device], text);
          return done.writeback;
        },
      },
    ] satisfies Knob[];
  });
}

function hasFile(store: Store): boolean {
  return store.share().device !== undefined;
}

function idleScanKnobs({ idleScan, store, denseCodec, exports }: ZramParts, commands: Commands) {
  const { settings } = idleScan;
  const devices = exports.map(({ device }) => device);
  return [
    {
      name: "recompress",
      describe: `pages to recompress with ${denseCodec}: ${PAGE_TYPES.join(", ")}; or a command \
as type=huge threshold=3000 max_pages=99`,
      get: () => settings.recompress,
      run: (text) => {
        if (!isCommand(text)) return undefined;
        checkAble("recompress", denseCodec !== "none", "--recompress");
        return recompressCommand(commands, devices, text);
      },
      set: (text) => {
        settings.recompress = typeOf("recompress", text, denseCodec !== "none", "--recompress");
        idleScan.restart();
      },
    },
    {
      name: "recompress_idle",
      describe: "seconds without use after which a page is idle for recompression",
      get: () => String(settings.recompressIdleSeconds),
      set: (text) => {
        settings.recompressIdleSeconds = wholeOf("recompress_idle", text, 1, SECONDS_MAX);
      },
    },
    {
      name: "writeback",
      describe: `pages to write to the file: ${PAGE_TYPES.join(", ")}; or a command as type=idle \
or page_indexes=0-99`,
      get: () => settings.writeBack,
      run: (text) => {
        if (!isCommand(text)) return undefined;
        checkAble("writeback", hasFile(store), "--write-back");
        return writeBackCommand(commands, devices, text);
      },
      set: (text) => {
        settings.writeBack = typeOf("writeback", text, hasFile(store), "--write-back");
        idleScan.restart();
      },
    },
    {
      name: "writeback_idle",
      describe: "seconds without use after which a page is idle for write-back",
      get: () => String(settings.writeBackIdleSeconds),
      set: (text) => {
        settings.writeBackIdleSeconds = wholeOf("writeback_idle", text, 1, SECONDS_MAX);
      },
    },
  ] satisfies Knob[];
}

function limitKnobs({ idleScan }: ZramParts): Knob[] {
  const { settings } = idleScan;
  return [
    {
      name: "writeback_limit",
      describe: "units of 4 KiB that may still be written back, with writeback_limit_enable",
      get: () => String(settings.writeBackLimit),
      set: (text) => {
        settings.writeBackLimit = wholeOf("writeback_limit", text, 0, Number.MAX_SAFE_INTEGER);
      },
    },
    {
      name: "writeback_limit_enable",
      describe: "1: write-back stops at writeback_limit, which it decreases",
      get: () => (settings.writeBackLimited ? "1" : "0"),
      set: (text) => {
        settings.writeBackLimited = wholeOf("writeback_limit_enable", text, 0, 1) === 1;
      },
    },
    {
      name: "idle",
      describe: "all, or seconds: marks pages as idle once that were not used for so long",
      get: () => "0",
      set: (text) => idleScan.restart(idleSecondsOf(text, idleScan.ageSecondsMax)),
    },
  ];
}

/** @returns seconds; 0 for all pages */
function idleSecondsOf(text: string, max: number): number {
  if (text === "all") return 0;
  const seconds = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (seconds >= 1 && seconds <= max) return seconds;
  throw new ZcacheError("ERR_OPTION", `idle "${text}": must be all, or from 1 to ${max} seconds`);
}

function typeOf(name: string, text: string, able: boolean, option: string): PageType {
  const type = PAGE_TYPES.find((one) => one === text);
  if (type === undefined) {
    throw new ZcacheError(
      "ERR_OPTION",
      `${name} "${text}": must be one of ${PAGE_TYPES.join(", ")}`,
    );
  }
  checkAble(name, able || type === "none", option);
  return type;
}

/** @throws ZcacheError ERR_OPTION if the daemon lacks what a knob needs */
function checkAble(name: string, able: boolean, option: string): void {
  if (able) return;
  throw new ZcacheError("ERR_OPTION", `${name}: the daemon was started without ${option}`);
}

function checkOne(name: string, text: string): void {
  if (text !== "1") throw new ZcacheError("ERR_OPTION", `${name} "${text}": must be 1`);
}
