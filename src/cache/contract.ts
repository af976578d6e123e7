// What a cache needs of where it runs, and of whoever turns values into bytes.

/** Turns values into bytes and back; the bytes are copied at once. */
export interface Serializer {
  encode(value: unknown): Uint8Array;
  /** @param bytes are the callee's own */
  decode(bytes: Uint8Array): unknown;
}

/** Text in and out of a memory, without a detour through other buffers. */
export interface Text {
  /** Whether every character of a string is below 256: then it can be written as Latin-1. */
  isLatin1(text: string): boolean;
  /**
   * Writes a string at `at`, as Latin-1 or as UTF-8.
   * @returns its bytes, or −1 if there are more than `limitBytes`, and nothing is written
   */
  write(text: string, at: number, limitBytes: number, asLatin1: boolean): number;
  read(at: number, count: number, asLatin1: boolean): string;
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
  /** Whether bytes are a Buffer, and of no subclass. */
  isBuffer(bytes: Uint8Array): boolean;
  /** A Buffer of these bytes, where there is such a thing. */
  bufferOf(bytes: Uint8Array): Uint8Array;
  /** Long texts as bytes of their own, and back. */
  encodeText(text: string, asLatin1: boolean): Uint8Array;
  decodeText(bytes: Uint8Array, asLatin1: boolean): string;
  /** Which load a call comes from, by whatever promises, timers and callbacks. */
  readonly loading: {
    /** Runs a loader: calls that come from it come from `scope`. */
    run<T>(scope: object, loader: () => T): T;
    /** The scope that the calling code belongs to, as far as the platform can tell. */
    current(): object | undefined;
  };
  /** An error as bytes, and back. */
  packError(error: unknown): Uint8Array;
  unpackError(bytes: Uint8Array): unknown;
}
