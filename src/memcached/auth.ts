// Names and passwords of clients, from a file as of memcached's -Y: lines `name:password`, at most
// eight.
import { timingSafeEqual } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { ZcacheError } from "../base/errors.ts";

const ENTRIES_MAX = 8;
const FILE_BYTES_MAX = 65_536;

interface Credential {
  readonly name: Buffer;
  readonly password: Buffer;
}

export class Credentials {
  #entries: readonly Credential[];

  private constructor(entries: readonly Credential[]) {
    this.#entries = entries;
  }

  /**
   * @throws ZcacheError ERR_INPUT if the file can't be read, ERR_OPTION if it is not such a file
   */
  static read(path: string): Credentials {
    let text: string;
    try {
      if (statSync(path).size > FILE_BYTES_MAX) throw new Error("it is larger than 64 KiB");
      text = readFileSync(path, "latin1");
    } catch (cause) {
      const reason = (cause as Error).message;
      throw new ZcacheError("ERR_INPUT", `auth file ${path}: ${reason}`, { cause });
    }
    const lines = text.split("\n").map((line) => line.replace(/\r$/, ""));
    const entries = lines.filter((line) => line !== "").map((line) => parseEntry(line, path));
    if (entries.length === 0 || entries.length > ENTRIES_MAX) {
      throw new ZcacheError(
        "ERR_OPTION",
        `auth file ${path}: ${entries.length} entries; 1 to ${ENTRIES_MAX} lines name:password`,
      );
    }
    return new Credentials(entries);
  }

  /** Replaces these names and passwords by those of `others`. */
  replace(others: Credentials): void {
    this.#entries = others.#entries;
  }

  /** Whether a name has this password; takes equally long for any. */
  allows(name: Uint8Array, password: Uint8Array): boolean {
    let found = false;
    for (const entry of this.#entries) {
      const same = safeEqual(entry.name, name);
      if (safeEqual(entry.password, password) && same) found = true;
    }
    return found;
  }
}

function parseEntry(line: string, path: string): Credential {
  const colon = line.indexOf(":");
  if (colon < 1) {
    throw new ZcacheError("ERR_OPTION", `auth file ${path}: a line is not name:password`);
  }
  return {
    name: Buffer.from(line.slice(0, colon), "latin1"),
    password: Buffer.from(line.slice(colon + 1), "latin1"),
  };
}

function safeEqual(expected: Buffer, given: Uint8Array): boolean {
  const same = given.length === expected.length;
  return timingSafeEqual(expected, same ? given : expected) && same;
}
