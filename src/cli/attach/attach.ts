// `zcache attach`: a compressed block device, as a disk or as swap, with one command.
// `zcache detach` ends it, `zcache list` shows it.
//
//   attach, detach, list         the commands; `command` has what they share
//   attach_device, detach_device what they do, step by step
//   requirements, usage          what is checked before anything is changed
//   drivers                      the kernel's nbd, or nbdfuse and a loop device
//   protection, group            what keeps the daemon in memory
//   state                        the state file of each device
//   device_figures, columns      the figures of `list`, and its table
//   machine, linux, proc         the contract with the machine, and Linux
//
// Settings of the daemon are flags here as they are of `zcache serve nbd`, from the same table: a
// new setting of the table is a flag of both, unless NOT_HERE names it.

import { realpathSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { Command, Option } from "commander";
import { ZcacheError } from "../../base/errors.ts";
import { formatBytes } from "../../base/units.ts";
import { defaultThreads } from "../../nbd/options.ts";
import { parseWhole } from "../options.ts";
import { write } from "../output.ts";
import { type Entries, resolveConfig } from "../serve/config.ts";
import { addFlags, flagEntries } from "../serve/flags.ts";
import { keyOf, type Section, type Table } from "../serve/setting.ts";
import { NBD, NBD_SECTION } from "../serve/settings.ts";
import { summaryOf } from "../summaries.ts";
import { attachDevice, type Request } from "./attach_device.ts";
import { contextUntilSignal } from "./command.ts";
import { BLOCK_BYTES } from "./drivers.ts";
import type { Wanted } from "./requirements.ts";
import { type Attached, parseId, StateFolder } from "./state.ts";

/**
 * Settings of `serve nbd` that `attach` chooses: one device, that only this machine reaches, and
 * that keeps its memory.
 */
const NOT_HERE: readonly string[] = [
  "enabled",
  "export",
  "socket",
  "socketMode",
  "listen",
  "allow",
  "maxConnections",
  "readOnly",
  "description",
  "tls",
  "tlsKey",
  "tlsCert",
  "tlsCa",
  "lockMemory",
];
const SIZE = "8G";
const MEMORY_MAX = "25%";
const STYLE = { prefixed: false };
/** Names of files, which the daemon would look for in another folder. */
const FILE_HINTS: readonly string[] = ["file", "path"];

const SETTINGS: Table = {
  ...Object.fromEntries(Object.entries(NBD).filter(([name]) => !NOT_HERE.includes(name))),
  size: { ...NBD.size, describe: "size of the device, such as 8G", fallback: SIZE },
  memoryMax: {
    ...NBD.memoryMax,
    describe: "memory limit for the device and its metadata, such as 4G or 25%",
    fallback: MEMORY_MAX,
  },
};
const SECTION: Section = { name: "nbd", title: NBD_SECTION.title, settings: SETTINGS };

interface Args {
  readonly as: Attached["as"];
  readonly driver: Wanted["driver"];
  readonly mkfs?: string;
  readonly mount?: string;
  readonly mountOptions: string;
  readonly priority: string;
  readonly id?: string;
}

const MAIN = fileURLToPath(
  new URL(`../main.${import.meta.url.endsWith(".ts") ? "ts" : "js"}`, import.meta.url),
);
const PRIORITY_MAX = 32_767;

/** The flags, and the defaults that differ from those of `serve nbd`. */
function entriesOf(command: Command): Entries {
  const given = flagEntries(command, SECTION, STYLE);
  const own = (["size", "memoryMax"] as const).map((name) => {
    const key = keyOf(name);
    const entry = { raw: SETTINGS[name]!.fallback!, name: `--${key}`, where: "" };
    return [`nbd.${key}`, given.get(`nbd.${key}`) ?? entry] as const;
  });
  return new Map([...given, ...own]);
}

/** The flags of the daemon for the same settings, without size and limit. */
function daemonFlags(entries: Entries): string[] {
  return Object.entries(SETTINGS).flatMap(([name, { hint }]) => {
    const key = keyOf(name);
    const entry = entries.get(`nbd.${key}`);
    if (entry === undefined || name === "size" || name === "memoryMax") return [];
    const { raw } = entry;
    if (typeof raw === "boolean") return [raw ? `--${key}` : `--no-${key}`];
    const values = typeof raw === "object" ? raw : [raw];
    return values.map((one) => {
      const text = FILE_HINTS.includes(hint) ? resolve(String(one)) : String(one);
      return `--${key}=${text}`;
    });
  });
}

function checkUse({ as, mkfs, mount }: Args): void {
  if (as === "disk") return;
  const flag = mkfs === undefined ? "--mount" : "--mkfs";
  if (mkfs === undefined && mount === undefined) return;
  throw new ZcacheError("ERR_OPTION", `${flag}: a swap device has no file system; omit --as swap`);
}

/** The folder as the kernel names it, if there is one. */
function realFolder(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return resolve(path);
  }
}

function requestOf(command: Command, args: Args): Request {
  checkUse(args);
  const { as, driver, mkfs, mount, mountOptions, id } = args;
  if (mkfs !== undefined && !/^[a-z0-9_.]+$/.test(mkfs)) {
    throw new ZcacheError(
      "ERR_OPTION",
      `--mkfs: "${mkfs}" is not allowed; write a type, such as ext4`,
    );
  }
  const entries = entriesOf(command);
  const { nbd } = resolveConfig([entries], (_, key) => `--${key}`);
  const { codec, threads = defaultThreads(), image, memoryMax } = nbd;
  // As zram rounds the size of a device.
  const sizeBytes = Math.ceil(nbd.size! / BLOCK_BYTES) * BLOCK_BYTES;
  const flags = [
    ...daemonFlags(entries),
    `--size=${sizeBytes}`,
    `--memory-max=${memoryMax!}`,
    "--lock-memory",
  ];
  return {
    ...{ as, driver, mkfs, mountOptions, sizeBytes, codec, threads },
    memoryMax: memoryMax!,
    id: id === undefined ? undefined : parseId(id, "--id"),
    mount: mount === undefined ? undefined : realFolder(mount),
    hasImage: image !== undefined,
    priority: parseWhole(args.priority, "--priority", 0, PRIORITY_MAX),
    server: ({ socket, control }) => [
      process.execPath,
      ...[MAIN, "serve", "nbd", `--socket=${socket}`, `--control=${control}`],
      ...flags,
    ],
  };
}

/** On a terminal everything worth knowing, in a pipe the block device alone. */
function textOf({ id, device, sizeBytes, memoryMax, as, mount }: Attached): string {
  if (process.stdout.isTTY !== true) return `${device}\n`;
  const use = as === "swap" ? ", used as swap" : mount === undefined ? "" : `, mounted on ${mount}`;
  return [
    `${device}: ${formatBytes(sizeBytes)}, at most ${formatBytes(memoryMax)} of memory${use}`,
    `log: ${new StateFolder().pathsOf(id).log}`,
    `end: zcache detach ${device}\n`,
  ].join("\n");
}

export function attachCommand(): Command {
  const command = new Command("attach")
    .description(summaryOf("attach"))
    .addOption(
      new Option("--as <use>", "what it is used as").choices(["disk", "swap"]).default("disk"),
    )
    .option("--mkfs <type>", "make a file system, such as ext4")
    .option("--mount <dir>", "mount the device on this folder")
    .option("--mount-options <list>", "options of mount", "discard")
    .option("--priority <n>", "priority as swap; higher ones are used first", "100")
    .addOption(
      new Option("--driver <name>", "what makes the block device: nbd (the kernel's), nbdfuse")
        .choices(["auto", "nbd", "nbdfuse"])
        .default("auto"),
    )
    .option("--id <name>", "name for `zcache detach` (default: zcache0, zcache1, …)");
  addFlags(command, SECTION, STYLE);
  return command.action(async (args: Args) => {
    const request = requestOf(command, args);
    await contextUntilSignal(async (context) =>
      write(textOf(await attachDevice(context, request))),
    );
  });
}
