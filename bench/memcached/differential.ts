// Sends the same sequences of requests to this server and to memcached: the replies must be the
// same bytes, except for the differences that docs/memcached.md lists.
import { connect, type Socket } from "node:net";
import { CAS, type Sequence, Sequences } from "./sequences.ts";
import { hasMemcached, startMemcached, startZcache } from "./servers.ts";

export interface Difference {
  readonly seed: number;
  readonly sent: string;
  readonly ours: string;
  readonly theirs: string;
}

export interface DifferentialResult {
  readonly sequences: number;
  readonly differences: readonly Difference[];
}

/** If a server does not answer for this long, the silence counts as its answer. */
const SILENCE_MS = 4000;
const END_TEXT = Buffer.from("mn\r\n");
const NOOP_OPAQUE = 0x7fff_fff1;
const END_BINARY = Buffer.alloc(24);
END_BINARY[0] = 0x80;
END_BINARY[1] = 0x0a;
END_BINARY.writeUInt32BE(NOOP_OPAQUE, 12);
const PIECE_MAX = 400;
const CLOSED = "<closed>";

/** A connection that sends a segment when the previous one has been answered completely. */
class Talk {
  readonly #socket: Socket;
  #received: Buffer[] = [];
  #isOver = false;
  #wake: (() => void) | undefined;

  constructor(port: number) {
    this.#socket = connect({ port, host: "127.0.0.1", noDelay: true });
    const end = () => {
      this.#isOver = true;
      this.#wake?.();
    };
    this.#socket.on("data", (chunk) => {
      this.#received.push(chunk as Buffer);
      this.#wake?.();
    });
    this.#socket.on("end", end).on("close", end).on("error", end);
  }

  /** @returns the answer, with markers for silence and for the end of the connection */
  async ask(bytes: Buffer, isEnd: (all: Buffer) => boolean): Promise<Buffer> {
    this.#received = [];
    this.#socket.write(bytes);
    const until = Date.now() + SILENCE_MS;
    for (;;) {
      const all = Buffer.concat(this.#received);
      if (isEnd(all)) return all;
      if (this.#isOver) return Buffer.concat([all, Buffer.from(CLOSED)]);
      const left = until - Date.now();
      if (left <= 0) return Buffer.concat([all, Buffer.from("<silence>")]);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  close(): void {
    this.#socket.destroy();
  }
}

const endsText = (all: Buffer) => all.subarray(-4).toString("latin1") === "MN\r\n";
const endsBinary = (all: Buffer) =>
  all.length >= 24 &&
  all.at(-24) === 0x81 &&
  all.at(-23) === 0x0a &&
  all.readUInt32BE(all.length - 12) === NOOP_OPAQUE;

/** Sends a sequence to one server. @returns the answers, without details that may differ */
export async function answerOf(
  port: number,
  { isBinary, segments }: Omit<Sequence, "requests">,
): Promise<string> {
  const talk = new Talk(port);
  const answers: string[] = [];
  let cas: Buffer = isBinary ? Buffer.alloc(8) : Buffer.from("1");
  try {
    for (const segment of segments) {
      const bytes = Buffer.concat([withCas(segment, cas), isBinary ? END_BINARY : END_TEXT]);
      const answer = await talk.ask(bytes, isBinary ? endsBinary : endsText);
      cas = (isBinary ? lastBinaryCas(answer) : lastCas(answer)) ?? cas;
      answers.push(isBinary ? plainBinary(answer) : plainText(answer.toString("latin1")));
      if (/<(closed|silence)>$/.test(answers.at(-1)!)) break;
    }
  } finally {
    talk.close();
  }
  return answers.join("---\n");
}

function withCas(segment: Buffer, cas: Buffer): Buffer {
  return Buffer.from(
    segment.toString("latin1").replaceAll(CAS, () => cas.toString("latin1")),
    "latin1",
  );
}

function lastCas(answer: Buffer): Buffer | undefined {
  const found = [...answer.toString("latin1").matchAll(CAS_IN_TEXT)].at(-1);
  return found && Buffer.from(found[2] ?? found[4]!);
}

/** The cas number in `VALUE key flags bytes cas`, and after the flag c of meta commands. */
const CAS_IN_TEXT = /(^VALUE [^ ]+ \d+ \d+) (\d+)(?=\r$)|(^(?:VA \d+|HD)(?: \S+)*? )c(\d+)/gm;

/** Replaces cas numbers, seconds, sizes and versions, which may differ, by placeholders. */
function plainText(answer: string): string {
  return (
    answer
      .replace(/(^VALUE [^ ]+ \d+ \d+) \d+(?=\r$)/gm, "$1 CAS")
      .replace(/^(?:VA \d+|HD|EX|NS|NF|EN)( [^ \r]+)*\r$/gm, (line) =>
        line
          .replace(/ c([1-9]\d*)(?= |\r)/g, " cCAS")
          .replace(/ t([1-9]\d*)(?= |\r)/g, " tN")
          .replace(/ l\d+(?= |\r)/g, " lN"),
      )
      .replace(/^ME ([^ ]+) exp=-?\d+ la=\d+ cas=\d+ (fetch=\w+) cls=\d+ size=\d+/gm, "ME $1 $2")
      // memcached returns a key in base64 decoded if the command has created the item.
      .replace(/ kkey(?= |\r)/g, " ka2V5 b")
      // A number that became shorter is padded with spaces; memcached does so only sometimes.
      .replace(/^(VALUE [^ ]+ \d+ )\d+( CAS)?\r\n(\d+) *\r$/gm, "$1N$2\r\n$3\r")
      .replace(/^VA \d+( [^\r\n]*)?\r\n(\d+) *\r$/gm, "VA N$1\r\n$2\r")
      .replace(/^VERSION .*/gm, "VERSION")
  );
}

function lastBinaryCas(answer: Buffer): Buffer | undefined {
  let last: Buffer | undefined;
  for (const { cas } of binaryReplies(answer)) if (!cas.equals(Buffer.alloc(8))) last = cas;
  return last;
}

function* binaryReplies(answer: Buffer) {
  for (let at = 0; at + 24 <= answer.length && answer[at] === 0x81; ) {
    const body = answer.readUInt32BE(at + 8);
    const end = at + 24 + body;
    if (end > answer.length) return;
    yield {
      head: answer.subarray(at, at + 16),
      cas: answer.subarray(at + 16, at + 24),
      body: answer.subarray(at + 24, end),
    };
    at = end;
  }
}

function plainBinary(answer: Buffer): string {
  let text = "";
  let used = 0;
  for (const { head, cas, body } of binaryReplies(answer)) {
    used += 24 + body.length;
    const number = cas.equals(Buffer.alloc(8)) ? "0" : "CAS";
    const content = head[1] === 0x0b ? "VERSION" : body.toString("latin1");
    const bytes = head[1] === 0x0b ? Buffer.concat([head.subarray(0, 8), head.subarray(12)]) : head;
    text += `${bytes.toString("hex")} ${number} ${JSON.stringify(content)}\n`;
  }
  return text + answer.subarray(used).toString("latin1");
}

export interface DifferentialOptions {
  readonly tiny?: boolean;
  readonly sequences?: number;
  readonly seed?: number;
  /** Of zcache's store. */
  readonly shards?: number;
  readonly print?: (line: string) => void;
}

/** @returns undefined if memcached is not installed */
export async function benchDifferential(
  options: DifferentialOptions = {},
): Promise<DifferentialResult | undefined> {
  const { tiny = false, seed = 1, shards = 1, print = console.log } = options;
  const sequences = options.sequences ?? (tiny ? 50 : 10_000);
  if (!hasMemcached()) {
    print("memcached is not installed");
    return undefined;
  }
  const memory = { memoryMiB: 256 };
  const ours = await startZcache({ ...memory, more: ["--shards", String(shards)] });
  const theirs = await startMemcached(memory);
  const differences: Difference[] = [];
  try {
    for (let nth = 0; nth < sequences; nth++) {
      const sequence = new Sequences(seed + nth).next();
      const cleared = { isBinary: false, segments: [Buffer.from("flush_all\r\n")] };
      await Promise.all([answerOf(ours.port, cleared), answerOf(theirs.port, cleared)]);
      const [one, other] = await Promise.all([
        answerOf(ours.port, sequence),
        answerOf(theirs.port, sequence),
      ]);
      if (isSame(one, other)) continue;
      const sent = sequence.segments.map((part) => part.toString("latin1")).join("---\n");
      differences.push({ seed: seed + nth, sent, ours: one, theirs: other });
    }
  } finally {
    await Promise.all([ours.stop(), theirs.stop()]);
  }
  print(`${sequences} sequences from seed ${seed}: ${differences.length} are answered differently`);
  for (const one of differences.slice(0, 20)) printDifference(one, print);
  return { sequences, differences };
}

/** When memcached closes a connection it drops unsent answers; zcache sends them. */
function isSame(ours: string, theirs: string): boolean {
  if (ours === theirs) return true;
  const sent = theirs.replace(/<closed>$/, "");
  return sent !== theirs && ours.endsWith(CLOSED) && ours.startsWith(sent);
}

/** Prints the requests, and the answers from the first difference on. */
function printDifference({ seed, sent, ours, theirs }: Difference, print: (line: string) => void) {
  let at = 0;
  while (at < ours.length && ours[at] === theirs[at]) at++;
  const from = Math.max(0, ours.lastIndexOf("\n", at - 1) - 60);
  print(`seed ${seed}, sent ${JSON.stringify(sent.slice(0, PIECE_MAX))}`);
  print(`  zcache    ${JSON.stringify(ours.slice(from, at + PIECE_MAX / 2))}`);
  print(`  memcached ${JSON.stringify(theirs.slice(from, at + PIECE_MAX / 2))}`);
}
