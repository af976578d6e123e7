// An NBD client in which a test can set every field, also to values that no real client sends.
import assert from "node:assert/strict";
import { connect, type Socket } from "node:net";
import {
  OPTION_MAGIC,
  OPTION_REPLY_MAGIC,
  Option,
  Reply,
} from "../../src/nbd/protocol/protocol.ts";

/** No wait lasts longer. */
const WAIT_MS = 120_000;

export interface OptionAnswer {
  readonly option: number;
  readonly type: number;
  readonly data: Buffer;
}

export interface NbdReply {
  readonly error: number;
  readonly data: Buffer;
  /** Types of the chunks of a structured reply. */
  readonly chunks: readonly number[];
}

export class NbdClient {
  readonly socket: Socket;
  #arrived = Buffer.alloc(0);
  #ended = false;
  #wake: () => void = () => {};
  #cookie = 0n;
  structured = false;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (data) => {
      this.#arrived = Buffer.concat([this.#arrived, data]);
      this.#wake();
    });
    const end = () => {
      this.#ended = true;
      this.#wake();
    };
    socket.on("end", end);
    socket.on("close", end);
    socket.on("error", end);
  }

  static on(socket: Socket): NbdClient {
    return new NbdClient(socket);
  }

  /** Connects, and checks the greeting. */
  static async connect(path: string, flags = 3): Promise<NbdClient> {
    const client = new NbdClient(connect(path));
    const greeting = await client.take(18);
    assert.equal(greeting.toString("latin1", 0, 16), "NBDMAGICIHAVEOPT");
    assert.equal(greeting.readUInt16BE(16), 3);
    client.write(u32(flags));
    return client;
  }

  /** Connects and enters transmission. */
  static async open(path: string, { structured = true, name = "" } = {}): Promise<NbdClient> {
    const client = await NbdClient.connect(path);
    if (structured) {
      assert.equal((await client.option(Option.STRUCTURED_REPLY)).type, Reply.ACK);
      client.structured = true;
      const query = Buffer.from("base:allocation");
      const meta = [string(name), u32(1), u32(query.length), query];
      client.sendOption(Option.SET_META_CONTEXT, Buffer.concat(meta));
      assert.equal((await client.answer()).type, Reply.META_CONTEXT);
      assert.equal((await client.answer()).type, Reply.ACK);
    }
    client.sendOption(Option.GO, Buffer.concat([string(name), Buffer.alloc(2)]));
    while ((await client.answer()).type !== Reply.ACK);
    return client;
  }

  write(...parts: Buffer[]): void {
    this.socket.write(Buffer.concat(parts));
  }

  sendOption(option: number, data: Buffer = Buffer.alloc(0), lengthBytes = data.length): void {
    this.write(u32(OPTION_MAGIC[0]), u32(OPTION_MAGIC[1]), u32(option), u32(lengthBytes), data);
  }

  async answer(): Promise<OptionAnswer> {
    const head = await this.take(20);
    assert.equal(head.readUInt32BE(0), OPTION_REPLY_MAGIC[0]);
    assert.equal(head.readUInt32BE(4), OPTION_REPLY_MAGIC[1]);
    const data = await this.take(head.readUInt32BE(16));
    return { option: head.readUInt32BE(8), type: head.readUInt32BE(12), data };
  }

  async option(option: number, data?: Buffer): Promise<OptionAnswer> {
    this.sendOption(option, data);
    return this.answer();
  }

  /** Sends a request. @returns its cookie */
  send(
    command: number,
    offset: number | bigint,
    lengthBytes: number,
    { data, flags = 0, magic = 0x25609513 }: { data?: Buffer; flags?: number; magic?: number } = {},
  ): bigint {
    const cookie = ++this.#cookie;
    const head = Buffer.alloc(28);
    head.writeUInt32BE(magic, 0);
    head.writeUInt16BE(flags, 4);
    head.writeUInt16BE(command, 6);
    head.writeBigUInt64BE(cookie, 8);
    head.writeBigUInt64BE(BigInt(offset), 16);
    head.writeUInt32BE(lengthBytes, 24);
    this.write(head, data ?? Buffer.alloc(0));
    return cookie;
  }

  /** The next reply, which must be to this cookie. @param readBytes data of a simple reply */
  async reply(cookie: bigint, readBytes = 0): Promise<NbdReply> {
    const chunks: number[] = [];
    const data: Buffer[] = [];
    for (;;) {
      const magic = (await this.take(4)).readUInt32BE(0);
      if (magic === 0x67446698) {
        const rest = await this.take(12);
        assert.equal(rest.readBigUInt64BE(4), cookie);
        const error = rest.readUInt32BE(0);
        return { error, data: await this.take(error === 0 ? readBytes : 0), chunks };
      }
      assert.equal(magic, 0x668e33ef, "the magic of a reply");
      assert.ok(this.structured, "structured replies were agreed on");
      const head = await this.take(16);
      assert.equal(head.readBigUInt64BE(4), cookie);
      const type = head.readUInt16BE(2);
      const body = await this.take(head.readUInt32BE(12));
      chunks.push(type);
      if ((type & 0x8000) !== 0) return { error: body.readUInt32BE(0), data: body, chunks };
      data.push(type === 1 ? body.subarray(8) : body);
      if ((head.readUInt16BE(0) & 1) !== 0) return { error: 0, data: Buffer.concat(data), chunks };
    }
  }

  async request(
    command: number,
    offset: number | bigint,
    lengthBytes: number,
    options: { data?: Buffer; flags?: number } = {},
  ): Promise<NbdReply> {
    const cookie = this.send(command, offset, lengthBytes, options);
    return this.reply(cookie, command === 0 && !this.structured ? lengthBytes : 0);
  }

  async take(size: number): Promise<Buffer> {
    while (this.#arrived.length < size) {
      assert.ok(!this.#ended, `the server hung up, ${size - this.#arrived.length} bytes early`);
      await this.#more();
    }
    const taken = this.#arrived.subarray(0, size);
    this.#arrived = this.#arrived.subarray(size);
    return taken;
  }

  /** Waits until the server closes the connection. @returns the bytes sent before */
  async end(): Promise<Buffer> {
    while (!this.#ended) await this.#more();
    this.socket.destroy();
    return this.#arrived;
  }

  close(): void {
    this.socket.destroy();
  }

  #more(): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error("no answer in time")), WAIT_MS);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** A length of 32 bits, and text. */
export function string(text: string): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([u32(bytes.length), bytes]);
}
