// The state files of attached devices: one for each device, so that `detach` and `list` find what
// `attach` has started, also after a crash of any of them.
//
//   ID.json        what was asked for and what was started; written before and after each step
//   ID.json.lock   the process that is attaching or detaching the device
//   ID.log         the output of the daemon and of nbdfuse; it stays until the next device ID
//   ID/            the sockets of the daemon, and the file that nbdfuse mounts
//
// The folder is /run/zcache, which is empty after a reboot, as are the devices themselves.
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { ZcacheError } from "../../base/errors.ts";
import { lockFile, lockHolder } from "../../node/file_lock.ts";
import type { ProcessIdentity } from "../../node/process_identity.ts";

const FORMAT = "zcache attached device";
const VERSION = 1;
/** The variable that names another folder than /run/zcache. */
const FOLDER_VARIABLE = "ZCACHE_RUNTIME_DIR";
const FOLDER = "/run/zcache";
const ID_PREFIX = "zcache";
const ID = /^[A-Za-z0-9_][A-Za-z0-9_-]{0,31}$/;
const SUFFIX = ".json";
/** Devices of one machine; more are a mistake. */
const IDS_MAX = 1024;

/** An attached device, as its state file has it. */
export interface Attached {
  readonly id: string;
  /** `attached` once all steps of `attach` are done; until `detach` begins. */
  readonly phase: "attaching" | "attached" | "detaching";
  readonly as: "disk" | "swap";
  readonly driver: "nbd" | "nbdfuse";
  readonly sizeBytes: number;
  readonly memoryMax: number;
  readonly codec: string;
  readonly threads: number;
  /** Whether the daemon saves the device when it ends. */
  readonly hasImage: boolean;
  /** The folder on which `attach` mounts the device. */
  readonly mount?: string;
  /** The block device, such as /dev/loop0, once it is chosen. */
  readonly device?: string;
  readonly server?: ProcessIdentity;
  readonly fuse?: ProcessIdentity;
  /** When `attach` was called, in ISO 8601. */
  readonly since: string;
}

/** The files of one device. */
export interface Paths {
  readonly state: string;
  readonly log: string;
  readonly folder: string;
  readonly socket: string;
  readonly control: string;
  /** The file that nbdfuse mounts. */
  readonly file: string;
}

export function parseId(text: string, what: string): string {
  if (ID.test(text)) return text;
  throw new ZcacheError(
    "ERR_OPTION",
    `${what}: "${text}" is not allowed; write up to 32 letters, digits, _ and -`,
  );
}

/** The folder of state files. */
export class StateFolder {
  readonly path: string;

  /** @throws ZcacheError ERR_IO: the folder can't be made */
  constructor(path = process.env[FOLDER_VARIABLE] ?? FOLDER) {
    this.path = path;
    try {
      this.path = realpathSync(path);
    } catch {
      // There is no folder, so nothing is attached; `create` makes it.
    }
  }

  pathsOf(id: string): Paths {
    const folder = join(this.path, id);
    return {
      folder,
      state: `${folder}${SUFFIX}`,
      log: `${folder}.log`,
      socket: join(folder, "nbd.sock"),
      control: join(folder, "control.sock"),
      file: join(folder, "disk"),
    };
  }

  /** The identifiers of all devices that have a state file, in the order of their numbers. */
  ids(): string[] {
    let names: string[];
    try {
      names = readdirSync(this.path);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === "ENOENT") return [];
      throw this.#failed("read", this.path, cause);
    }
    return names
      .filter((name) => name.endsWith(SUFFIX) && ID.test(name.slice(0, -SUFFIX.length)))
      .map((name) => name.slice(0, -SUFFIX.length))
      .sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  }

  /**
   * @returns undefined if there is no such device
   * @throws ZcacheError ERR_INPUT: the file is damaged or of another version
   */
  read(id: string): Attached | undefined {
    const { state } = this.pathsOf(id);
    let text: string;
    try {
      text = readFileSync(state, "utf8");
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw this.#failed("read", state, cause);
    }
    return parseState(text, state);
  }

  /** Replaces the state file in one step. */
  write(record: Attached): void {
    const { state } = this.pathsOf(record.id);
    const made = `${state}.new`;
    try {
      const text = JSON.stringify({ format: FORMAT, version: VERSION, ...record }, null, 2);
      writeFileSync(made, `${text}\n`);
      // Readable for all, whatever the umask: `zcache list` needs no root.
      chmodSync(made, 0o644);
      renameSync(made, state);
    } catch (cause) {
      throw this.#failed("write", state, cause);
    }
  }

  /** Removes the files of a device, except its log. */
  remove(id: string): void {
    const { folder, state } = this.pathsOf(id);
    try {
      rmSync(folder, { recursive: true, force: true });
      rmSync(`${state}.new`, { force: true });
      rmSync(state, { force: true });
    } catch (cause) {
      throw this.#failed("remove", folder, cause);
    }
  }

  /** The process that is attaching or detaching a device. */
  holderOf(id: string): number | undefined {
    return lockHolder(this.pathsOf(id).state);
  }

  /**
   * Takes the lock of a device. @returns releases the lock
   * @throws ZcacheError ERR_BUSY: another process is attaching or detaching it
   */
  lock(id: string): () => void {
    try {
      return lockFile(this.pathsOf(id).state);
    } catch (cause) {
      if (!(cause instanceof ZcacheError) || cause.code !== "ERR_FILE_LOCKED") throw cause;
      const pid = cause.context["pid"];
      const who = pid === undefined ? "another process" : `process ${pid}`;
      throw new ZcacheError("ERR_BUSY", `${id}: ${who} is attaching or detaching it; try again`, {
        cause,
      });
    }
  }

  /**
   * Reserves an identifier: takes its lock, and makes its folder and an empty log.
   * @param wanted undefined: the first free one
   * @returns the identifier, and what releases the lock
   * @throws ZcacheError ERR_BUSY: it is in use
   */
  reserve(wanted: string | undefined): { id: string; release: () => void } {
    this.#makeFolder();
    if (wanted !== undefined) return { id: wanted, release: this.#reserveOne(wanted) };
    for (let n = 0; n < IDS_MAX; n++) {
      const id = `${ID_PREFIX}${n}`;
      try {
        return { id, release: this.#reserveOne(id) };
      } catch (error) {
        if (!(error instanceof ZcacheError) || error.code !== "ERR_BUSY") throw error;
      }
    }
    throw new ZcacheError("ERR_BUSY", `${IDS_MAX} devices are attached; detach some`);
  }

  #reserveOne(id: string): () => void {
    const { state, folder, log } = this.pathsOf(id);
    const release = this.lock(id);
    try {
      if (this.read(id) !== undefined) {
        throw new ZcacheError(
          "ERR_BUSY",
          `${id} is in use; choose another --id, or run \`zcache detach ${id}\` first`,
        );
      }
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      writeFileSync(log, "", { mode: 0o600 });
      return release;
    } catch (cause) {
      release();
      throw cause instanceof ZcacheError ? cause : this.#failed("write", state, cause);
    }
  }

  #makeFolder(): void {
    try {
      if (mkdirSync(this.path, { recursive: true }) !== undefined) chmodSync(this.path, 0o755);
    } catch (cause) {
      throw this.#failed("make", this.path, cause);
    }
  }

  #failed(verb: string, path: string, cause: unknown): ZcacheError {
    const { message } = cause as Error;
    return new ZcacheError("ERR_IO", `can't ${verb} ${path}: ${message}`, { cause });
  }
}

/** @throws ZcacheError ERR_INPUT */
export function parseState(text: string, path: string): Attached {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // Refused below.
  }
  if (typeof value !== "object" || value === null || !("format" in value)) throw unknown(path);
  const { format, version, ...record } = value as Record<string, unknown>;
  if (format !== FORMAT) throw unknown(path);
  if (version !== VERSION) {
    throw new ZcacheError(
      "ERR_INPUT",
      `${path} has version ${String(version)}, and this zcache knows version ${VERSION}; \
detach the device with the zcache that attached it`,
    );
  }
  if (!isRecord(record)) throw unknown(path);
  return record;
}

function unknown(path: string): ZcacheError {
  return new ZcacheError("ERR_INPUT", `${path} is not a state file of \`zcache attach\``);
}

function isRecord(value: object): value is Attached {
  const { id, phase, as, driver, since, codec, sizeBytes, memoryMax, threads } =
    value as Partial<Attached>;
  const isPhase = phase === "attaching" || phase === "attached" || phase === "detaching";
  return (
    isPhase &&
    (as === "disk" || as === "swap") &&
    (driver === "nbd" || driver === "nbdfuse") &&
    [id, since, codec].every((one) => typeof one === "string") &&
    [sizeBytes, memoryMax, threads].every(Number.isSafeInteger)
  );
}
