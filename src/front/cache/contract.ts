// What a cache needs of where it runs, and of whoever turns values into bytes.

/** Turns values into bytes and back; the bytes are copied at once. */
export interface Serializer {
  encode(value: unknown): Uint8Array;
  /** @param bytes are the callee's own */
  decode(bytes: Uint8Array): unknown;
}

/** Text in and out of a memory, without a detour through other buffers. */
export interface Text {
  /**
   * Writes a string as UTF-8 at `at`.
   * @returns its bytes, or −1 if there may be more than `limitBytes`
   */
  write(text: string, at: number, limitBytes: number): number;
  /** @param isAscii whether every byte is one character */
  read(at: number, count: number, isAscii: boolean): string;
}

export interface CachePlatform {
  /** ms since 1970. */
  now(): number;
  /** 32 random bits. */
  random(): number;
  /** For texts in this memory, which threads may share. */
  textIn(bytes: Uint8Array): Text;
  /** Resolves after `ms`; keeps the process alive, for somebody waits. */
  sleep(ms: number): Promise<void>;
  /** A Buffer of these bytes, where there is such a thing. */
  bufferOf(bytes: Uint8Array): Uint8Array;
  /** An error as bytes, and back. */
  packError(error: unknown): Uint8Array;
  unpackError(bytes: Uint8Array): unknown;
}
