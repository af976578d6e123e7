// The mark: a file that says which files are valid while there are some of two numbers of shards.
//
//   PATH.shards           "zcache shards 1 N\n": those of N shards; all others may be removed
//   PATH.shards.tmp       a mark that is being written
//
// It is replaced in one step, which makes the files of a takeover valid (takeover.ts).
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { ZcacheError } from "../base/errors.ts";
import { attemptIo } from "../node/file_io.ts";
import { syncFolder } from "./files.ts";
import { removeFile } from "./found_files.ts";

const NAME = "zcache shards ";
const MARK = /^zcache shards 1 ([1-9]\d?)\n$/;
/** Longer files are no marks. */
const MARK_BYTES_MAX = 64;

/**
 * The number of shards whose files are valid; undefined: there is no mark.
 * @throws ZcacheError ERR_OPTION if the mark is of another version; ERR_IO
 */
export function readMark(path: string): number | undefined {
  const text = textOf(fileOf(path));
  if (text === undefined || !text.startsWith(NAME)) return undefined;
  const match = MARK.exec(text);
  if (match !== null) return Number(match[1]);
  const file = fileOf(path);
  const what = `${file} is damaged or of another version, and this zcache reads version 1`;
  throw new ZcacheError(
    "ERR_OPTION",
    `persist: ${what}; start without the files: existing: "discard"`,
    { context: { path: file } },
  );
}

/**
 * Declares the files of so many shards valid, and those of any other number invalid.
 * @throws ZcacheError ERR_OPTION if a foreign file has the mark's name; ERR_IO
 */
export function writeMark(path: string, shards: number): void {
  const file = fileOf(path);
  const text = textOf(fileOf(path));
  if (text !== undefined && !text.startsWith(NAME)) {
    const what = "is not a file of zcache: move it away, or use another path";
    throw new ZcacheError("ERR_OPTION", `persist: ${file} ${what}`, { context: { path: file } });
  }
  const fd = attemptIo(file, 0, () => openSync(`${file}.tmp`, "w", 0o600));
  try {
    attemptIo(file, 0, () => writeSync(fd, `${NAME}1 ${shards}\n`));
    attemptIo(file, 0, () => fsyncSync(fd));
  } finally {
    closeSync(fd);
  }
  attemptIo(file, 0, () => renameSync(`${file}.tmp`, file));
  syncFolder(dirname(path));
}

/** To be called when there are files of one number of shards only. */
export function removeMark(path: string): void {
  for (const file of [`${fileOf(path)}.tmp`, fileOf(path)]) {
    if (textOf(file)?.startsWith(NAME)) removeFile(file);
  }
}

function fileOf(path: string): string {
  return `${path}.shards`;
}

/** @returns undefined if there is no such file @throws ZcacheError ERR_IO */
function textOf(file: string): string | undefined {
  return attemptIo(file, 0, () => {
    try {
      return readFileSync(file).subarray(0, MARK_BYTES_MAX).toString("latin1");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
  });
}
