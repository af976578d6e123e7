// Sequences of correct and incorrect requests in memcached's protocols, generated from a seed. A
// sequence consists of segments, because a cas number has to be read before it can be used.
import { Xorshift32 } from "../../src/base/random.ts";

/** Requests that are sent in one piece. `CAS` stands for the cas number received last. */
export interface Sequence {
  readonly isBinary: boolean;
  readonly segments: readonly Buffer[];
  /** Number of requests in all segments. */
  readonly requests: number;
}

/** Eight bytes, so that a header of the binary protocol can hold them too. */
export const CAS = "<<cas#>>";

const KEYS = [
  "a",
  "b",
  "c",
  "d",
  "longer.".repeat(35),
  "x".repeat(251),
  "a:b",
  "a2V5",
  "p:q",
  "\xff\xfe",
  "t\tab",
];
const NUMBERS = [
  ...["0", "1", "2", "5", "10", "007", "100", "-1", "abc", "1x", "", "4294967295"],
  ...["4294967296", "18446744073709551615", "18446744073709551616", "99999999999999999999"],
];
const FLAGS = ["0", "007", "-1", "abc", "1x", "4294967295"];
/** Expiry times whose effect does not change while a sequence runs. */
const TIMES = ["0", "0", "0", "1000", "100", "-1", "-100", "2592001"];
const BAD_TIMES = ["abc", "1x", "", "99999999999999999999", "18446744073709551615"];
const OTHERS = [
  ...["version", "verbosity 1", "verbosity", "verbosity x", "verbosity 1 noreply", "bogus", ""],
  ...["get", "gets", "set", "delete", "incr a", "touch a", "gat 0", "mg", "ms", "md", "ma", "me"],
  ...["flush_all", "flush_all 0", "flush_all noreply", "flush_all abc", "flush_all 0 noreply"],
  ...["flush_all 1 2 3", "stats detail", "stats detail x", "stats cachedump", "stats bogus"],
  ...["slabs", "lru", "shutdown", "cas a 0 0 1", "GET a", "get a b c d", "  get a"],
  ...["stats cachedump 99 1", "lru_crawler", "lru_crawler crawl", "lru_crawler sleep 2000000"],
  ...["cache_memlimit", "cache_memlimit 1", "cache_memlimit x"],
  ...[
    "debugtime 1",

    "delete a 0",
    "delete a 1",
    "delete a 0 noreply",
  ],
  ...["delete a noreply", "delete a x y z", "incr a 1 noreply", "touch a 0 noreply", "bget a"],
];
const META_FLAGS = [..."bcfhklOqstvuITFMRJDCSBZ"];

export class Sequences {
  readonly #random: Xorshift32;

  constructor(seed: number) {
    this.#random = new Xorshift32(Math.imul(seed, 2_654_435_761) ^ 0x5bd1e995);
    for (let i = 0; i < 8; i++) this.#random.next();
  }

  next(): Sequence {
    const isBinary = this.#below(4) === 0;
    let requests = 0;
    const segments = Array.from({ length: 1 + this.#below(4) }, () => {
      if (!isBinary && this.#once(40)) return Buffer.from(`get a ${"x".repeat(251)} b\r\n`);
      const count = 1 + this.#below(12);
      requests += count;
      return Buffer.concat(
        Array.from({ length: count }, () => (isBinary ? this.#binary() : this.#text())),
      );
    });
    return { isBinary, segments, requests };
  }

  #below(bound: number): number {
    return this.#random.below(bound);
  }

  #pick<T>(from: readonly T[]): T {
    return from[this.#below(from.length)]!;
  }

  /**
   * A list with a key that is too long makes memcached drop unsent answers to earlier commands, so
   * such a list has its own segment.
   */
  #listed(): string {
    const key = this.#key();
    return key.length > 250 ? "a" : key;
  }

  /** True once in `times` calls on average. */
  #once(times: number): boolean {
    return this.#below(times) === 0;
  }

  #key(): string {
    return this.#once(6) ? this.#pick(KEYS) : this.#pick(KEYS.slice(0, 4));
  }

  #time(): string {
    return this.#once(12) ? this.#pick(BAD_TIMES) : this.#pick(TIMES);
  }

  #value(): string {
    switch (this.#below(8)) {
      case 0:
        return "";
      case 1:
      case 2:
        return this.#pick(["0", "9", "10", "99", "18446744073709551615", "12 ", "5x", "-1", " 7"]);
      case 3:
        return `${"v".repeat(299)}\n`.repeat(this.#below(this.#once(20) ? 100 : 4));
      default:
        return "abcdefghij".slice(this.#below(10));
    }
  }

  #text(): Buffer {
    const end = this.#once(20) ? "\n" : "\r\n";
    return Buffer.from(this.#textOf(end), "latin1");
  }

  #textOf(end: string): string {
    switch (this.#below(16)) {
      case 0:
      case 1:
      case 2:
        return this.#store(end);
      case 3:
        return this.#get(end);
      case 4:
        return `${this.#pick(["incr", "decr"])} ${this.#key()} ${this.#number()}${this.#end(end)}`;
      case 5:
        return `delete ${this.#key()}${this.#silent()}${end}`;
      case 6:
        return `touch ${this.#key()} ${this.#time()}${this.#silent()}${end}`;
      case 7:
        return this.#once(3) ? `${this.#pick(OTHERS)}${end}` : this.#get(end);
      case 8:
      case 9:
        return this.#metaSet(end);
      case 10:
        return `ma ${this.#key()} ${this.#flags("bcqtvOkNJDTMC", 4)}${end}`;
      case 11:
        return `md ${this.#key()} ${this.#flags("bqkOITC", 3)}${end}`;
      case 12:
        return this.#once(4)
          ? `me ${this.#key()}${this.#once(4) ? " b" : ""}${end}`
          : this.#get(end);
      default:
        return `mg ${this.#key()} ${this.#flags("bcfhklOqstvuNRT", 6)}${end}`;
    }
  }

  #number(): string {
    return this.#once(4) ? this.#pick(NUMBERS) : String(this.#below(20));
  }

  /** The end of a command's line, with or without `noreply`. */
  #end(end: string): string {
    return `${this.#silent()}${end}`;
  }

  #silent(): string {
    if (this.#once(15)) return this.#pick([" noreply x", " NOREPLY", " 0"]);
    return this.#once(6) ? " noreply" : "";
  }

  #get(end: string): string {
    const keys = Array.from({ length: 1 + this.#below(this.#once(10) ? 30 : 4) }, () =>
      this.#listed(),
    );
    const how = this.#pick(["get", "gets", "get", "gat", "gats"]);
    const time = how.startsWith("gat") ? `${this.#time()} ` : "";
    const list = keys.join(this.#once(20) ? "  " : " ");
    return `${how} ${time}${list}${this.#once(30) ? " " : ""}${end}`;
  }

  #store(end: string): string {
    const how = this.#pick(["set", "set", "set", "add", "replace", "append", "prepend", "cas"]);
    const value = this.#once(300)
      ? `${"w".repeat(999)}\n`.repeat(this.#pick([500, 1100]))
      : this.#value();
    const flags = this.#once(10) ? this.#pick(FLAGS) : String(this.#below(70_000));
    const length = this.#length(value);
    const cas = how === "cas" ? ` ${this.#cas()}` : "";
    const head = `${how} ${this.#key()} ${flags} ${this.#time()} ${length}${cas}`;
    return `${head}${this.#end(end)}${value}\r\n`;
  }

  #cas(): string {
    return this.#pick([CAS, CAS, CAS, "0", "1", "999999999", "abc", "18446744073709551615"]);
  }

  /** Sometimes a wrong length, so that the server reads the rest as something else. */
  #length(value: string): string {
    if (!this.#once(30)) return String(value.length);
    return this.#pick([
      "-1",
      "abc",
      "",
      String(value.length + 1),
      String(Math.max(0, value.length - 1)),
    ]);
  }

  #metaSet(end: string): string {
    const value = this.#value();
    const flags = this.#flags("bcCFIkOqTM", 4, [..."hltRJDSBZ"]);
    return `ms ${this.#key()} ${this.#length(value)} ${flags}${end}${value}\r\n`;
  }

  /** Mostly flags that the command has. */
  #flags(letters: string, most: number, strange: readonly string[] = META_FLAGS): string {
    const count = this.#below(most + 1);
    const flags = Array.from({ length: count }, () => {
      const letter = this.#once(25) ? this.#pick(strange) : this.#pick([...letters]);
      return letter + this.#tokenOf(letter);
    });
    return flags.join(" ");
  }

  #tokenOf(letter: string): string {
    const isTime = "TNR".includes(letter);
    if (this.#once(25)) return this.#pick(isTime ? BAD_TIMES : letter === "F" ? FLAGS : NUMBERS);
    switch (letter) {
      case "O":
        return this.#once(10) ? "o".repeat(31) : String(this.#below(1000));
      case "C":
        return this.#cas();
      case "F":
        return String(this.#below(70_000));
      case "M":
        return this.#pick([..."SERAPID+-Z"]);
      case "T":
      case "N":
        return this.#pick(["0", "100", "1000", "abc"]);
      case "R":
        return this.#pick(["30", "0", "2000"]);
      case "J":
      case "D":
        return this.#number();
      default:
        return "";
    }
  }

  /** A request of the binary protocol, whose lengths are mostly as they should be. */
  #binary(): Buffer {
    const opcodes = this.#once(15) ? [0x0a, 0x0b, 0x08, 0x18, 0x07, 0x20] : DATA_CODES;
    const opcode = this.#pick(opcodes);
    const [extras, hasValue] = SHAPES[opcode] ?? [0, false];
    const isKeyless = [0x0a, 0x0b, 0x08, 0x18, 0x07, 0x20].includes(opcode);
    const key = Buffer.from(isKeyless ? "" : this.#key(), "latin1");
    const value = Buffer.from(hasValue ? this.#value() : "", "latin1");
    const header = Buffer.alloc(24);
    header[0] = this.#once(200) ? 0x81 : 0x80;
    header[1] = opcode;
    header.writeUInt16BE(key.length, 2);
    const extrasBytes = this.#once(80) ? this.#below(24) : extras;
    header[4] = extrasBytes;
    header.writeUInt32BE(extrasBytes + key.length + value.length, 8);
    header.writeUInt32BE(this.#below(2 ** 31), 12);
    if (this.#once(6)) header.write(this.#once(4) ? "\0\0\0\0\0\x0f\0\0" : CAS, 16, "latin1");
    return Buffer.concat([header, this.#extras(opcode, extrasBytes), key, value]);
  }

  #extras(opcode: number, bytes: number): Buffer {
    const extras = Buffer.alloc(bytes);
    const time = this.#pick([0, 0, 1000, 0xffff_ffff]);
    if (bytes === 4) extras.writeUInt32BE(opcode === 0x08 || opcode === 0x18 ? 0 : time, 0);
    if (bytes === 8) {
      extras.writeUInt32BE(this.#below(70_000), 0);
      extras.writeUInt32BE(time, 4);
    }
    if (bytes === 20) {
      // Nothing is subtracted: memcached pads a number that becomes shorter with spaces only if no
      // reply that is being sent refers to the item.
      extras.writeUInt32BE(opcode === 5 || opcode === 21 ? this.#below(20) : 0, 4);
      extras.writeUInt32BE(this.#below(20), 12);
      extras.writeUInt32BE(this.#pick([0, 0xffff_ffff, 1000]), 16);
    }
    return extras;
  }
}

/** Operations on items: bytes of extras, and whether there is a value. */
const SHAPES: Readonly<Record<number, readonly [number, boolean]>> = {
  ...{ 0: [0, false], 9: [0, false], 12: [0, false], 13: [0, false] },
  ...{ 1: [8, true], 2: [8, true], 3: [8, true], 17: [8, true], 18: [8, true], 19: [8, true] },
  ...{ 4: [0, false], 20: [0, false], 14: [0, true], 15: [0, true], 25: [0, true], 26: [0, true] },
  ...{ 5: [20, false], 6: [20, false], 21: [20, false], 22: [20, false] },
  ...{ 28: [4, false], 29: [4, false], 30: [4, false], 35: [4, false], 36: [4, false] },
};
const DATA_CODES = Object.keys(SHAPES).map(Number);
