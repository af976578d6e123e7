// The machine that this program runs on, through /proc, /sys and the programs of util-linux.
//
// Only /proc and /sys are read. A path below a file system whose server hangs is never touched,
// because the call could not be interrupted.
import { spawn } from "node:child_process";
import {
  accessSync,
  closeSync,
  constants,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
} from "node:fs";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ZcacheError } from "../../base/errors.ts";
import { askControl } from "../../monitor/control.ts";
import type { ControlRequest } from "../../monitor/control_protocol.ts";
import { identityOf, isAlive, type ProcessIdentity } from "../../node/process_identity.ts";
import { fullGroups, removeSwaplessGroup, swaplessGroup } from "./group.ts";
import type {
  Background,
  BlockDevice,
  FullGroup,
  Group,
  LoopDevice,
  Machine,
  Mount,
  NbdDevice,
  Opener,
  RunOptions,
  Swap,
} from "./machine.ts";
import {
  fromBytes,
  parseAvailable,
  parseHandles,
  parseMappedFiles,
  parseMounts,
  parseSwaps,
} from "./proc.ts";

const PAUSE_MS = 50;
const GROUP_ATTEMPTS = 40;
const SIGTERM = 15;
/** Where programs of root are, which the PATH of another user may lack. */
const FOLDERS = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin"];
/** The variable that marks what `zcache attach` has started. */
const MARK = "ZCACHE_ATTACHED";
/** The kernel ends nearly every other process first. */
export const OOM_SCORE = -900;
/** Joins the group, and lowers the score, before the program runs; either may be refused. */
const START = `{ [ -z "$1" ] || echo $$ > "$1"; } 2>&-
{ echo ${OOM_SCORE} > /proc/self/oom_score_adj; } 2>&-
shift
exec "$@"`;

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return undefined;
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

function environment(): NodeJS.ProcessEnv {
  const { NOTIFY_SOCKET: _, PATH = "", ...rest } = process.env;
  const folders = [...new Set([...PATH.split(":").filter((one) => one !== ""), ...FOLDERS])];
  return { ...rest, PATH: folders.join(":"), LC_ALL: "C" };
}

function failed(program: string, why: string, cause?: unknown): ZcacheError {
  return new ZcacheError("ERR_SYSTEM", `${program}: ${why}`, { context: { program }, cause });
}

export class LinuxMachine implements Machine {
  readonly isRoot = process.geteuid?.() === 0;

  has(program: string): boolean {
    return environment()
      ["PATH"]!.split(":")
      .some((folder) => {
        try {
          accessSync(join(folder, program), constants.X_OK);
          return true;
        } catch {
          return false;
        }
      });
  }

  exists(path: string): boolean {
    return statSync(path, { throwIfNoEntry: false }) !== undefined;
  }

  isFolder(path: string): boolean {
    return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
  }

  async pause(): Promise<void> {
    await sleep(PAUSE_MS);
  }

  nowMs(): number {
    return performance.now();
  }

  /** The program is in a session of its own, so that Ctrl-C does not end it in the middle. */
  async run(program: string, args: readonly string[], how: RunOptions = {}): Promise<string> {
    const { signal, mark } = how;
    signal?.throwIfAborted();
    const child = spawn(program, args, {
      env: { ...environment(), ...(mark === undefined ? {} : { [MARK]: mark }) },
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    const said = { out: "", errors: "" };
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      said.out += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      said.errors += text;
    });
    const end = () => child.kill("SIGTERM");
    signal?.addEventListener("abort", end);
    try {
      const code = await new Promise<number | NodeJS.Signals | null>((resolve, reject) => {
        child.once("error", (cause) => reject(failed(program, cause.message, cause)));
        child.once("close", (status, by) => resolve(status ?? by));
      });
      signal?.throwIfAborted();
      if (code === 0) return said.out;
      const [line = ""] = said.errors.trim().split("\n");
      throw failed(program, line === "" ? `ended with ${code}` : line.replace(`${program}: `, ""));
    } finally {
      signal?.removeEventListener("abort", end);
    }
  }

  async start({ program, args, log, mark, group }: Background): Promise<ProcessIdentity> {
    const output = openSync(log, "a", 0o600);
    try {
      const child = spawn("/bin/sh", ["-c", START, "sh", group.procs ?? "", program, ...args], {
        env: { ...environment(), [MARK]: mark },
        stdio: ["ignore", output, output],
        detached: true,
        cwd: "/",
      });
      await new Promise<void>((resolve, reject) => {
        child.once("error", (cause) => reject(failed(program, cause.message, cause)));
        child.once("spawn", resolve);
      });
      child.unref();
      return identityOf(child.pid!);
    } finally {
      closeSync(output);
    }
  }

  async kill(pid: number, signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    try {
      process.kill(pid, signal);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === "ESRCH") return;
      throw failed("kill", (cause as Error).message, cause);
    }
  }

  isAlive(process: ProcessIdentity): boolean {
    return isAlive(process);
  }

  handlesTerm(pid: number): boolean {
    return parseHandles(textOf(`/proc/${pid}/status`) ?? "", SIGTERM);
  }

  marked(mark: string): number[] {
    const wanted = `\0${MARK}=${mark}\0`;
    return processes().filter((pid) => {
      const variables = textOf(`/proc/${pid}/environ`);
      return variables !== undefined && `\0${variables}`.includes(wanted);
    });
  }

  async makeGroup(name: string): Promise<Group> {
    return swaplessGroup(name);
  }

  async removeGroup(name: string): Promise<void> {
    // The group of a process that has just ended is busy for a moment.
    for (let n = 0; n < GROUP_ATTEMPTS && !removeSwaplessGroup(name); n++) await this.pause();
  }

  oomScoreOf(pid: number): number | undefined {
    const text = textOf(`/proc/${pid}/oom_score_adj`);
    return text === undefined ? undefined : Number(text);
  }

  mounts(): Mount[] {
    return parseMounts(textOf("/proc/self/mountinfo") ?? "");
  }

  swaps(): Swap[] {
    return parseSwaps(textOf("/proc/swaps") ?? "");
  }

  loops(): LoopDevice[] {
    return namesIn("/sys/block").flatMap((name) => {
      const file = textOf(`/sys/block/${name}/loop/backing_file`);
      if (file === undefined) return [];
      return [{ device: `/dev/${name}`, file: fromBytes(file.trimEnd()) }];
    });
  }

  nbds(): NbdDevice[] {
    return namesIn("/sys/block")
      .filter((name) => /^nbd\d+$/.test(name))
      .sort((a, b) => Number(a.slice(3)) - Number(b.slice(3)))
      .map((name) => ({
        device: `/dev/${name}`,
        isConnected: textOf(`/sys/block/${name}/pid`) !== undefined,
      }));
  }

  blocks(device: string): BlockDevice[] {
    const name = basename(device);
    const folder = `/sys/block/${name}`;
    const parts = namesIn(folder).filter((one) => one.startsWith(name));
    return [folder, ...parts.map((one) => `${folder}/${one}`)].flatMap((path) => {
      const number = textOf(`${path}/dev`)?.trim();
      if (number === undefined) return [];
      const holders = namesIn(`${path}/holders`).map((one) => `/dev/${one}`);
      return [{ device: `/dev/${basename(path)}`, number, holders }];
    });
  }

  openers(paths: readonly string[]): Opener[] {
    const isOne = (path: string | undefined) =>
      path !== undefined &&
      paths.some((one) => path === one || (one.endsWith("/") && `${path}/`.startsWith(one)));
    return processes().flatMap((pid) => {
      if (pid === process.pid) return [];
      const folder = `/proc/${pid}`;
      const links = ["cwd", "root", "exe", ...namesIn(`${folder}/fd`).map((fd) => `fd/${fd}`)];
      const isUser =
        links.some((link) => isOne(linkOf(`${folder}/${link}`))) ||
        parseMappedFiles(textOf(`${folder}/maps`) ?? "").some(isOne);
      return isUser ? [{ pid, name: textOf(`${folder}/comm`)?.trim() ?? "?" }] : [];
    });
  }

  fullGroups(): FullGroup[] {
    return fullGroups();
  }

  availableBytes(): number {
    return parseAvailable(textOf("/proc/meminfo") ?? "");
  }

  ask(control: string, request: ControlRequest, replyMs: number) {
    return askControl(control, request, replyMs);
  }
}

function processes(): number[] {
  return namesIn("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}
