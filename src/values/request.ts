// What `Values.set` stores. A caller makes one request and fills it in anew for each call, so that
// a call allocates nothing.

const NO_BYTES = new Uint8Array(0);

export class SetRequest {
  /** The key: the first `keyBytes` of these bytes. */
  key: Uint8Array = NO_BYTES;
  keyBytes = 0;
  /** What `find` gives back beside the value: the first `metaBytes` of these bytes. */
  meta: Uint8Array = NO_BYTES;
  metaBytes = 0;
  /**
   * The value, of `valueBytes` bytes; undefined if it is in the value buffer (`Values.bufferAt`).
   * `set` takes it out of the request, so that a request keeps no value alive.
   */
  value: Uint8Array | undefined;
  valueBytes = 0;
  /** When the value expires, in ms since 1970; Infinity: never. */
  expiresMs = Number.POSITIVE_INFINITY;
}
