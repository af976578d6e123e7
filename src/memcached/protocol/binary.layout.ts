/** The header of a request and of a response in the binary protocol: 24 bytes, big-endian.
 *   0       1        2           4        5      6                8        12       16    23
 *  ┌───────┬────────┬───────────┬────────┬──────┬────────────────┬────────┬────────┬───────┐
 *  │ magic │ opcode │ key bytes │ extras │ type │ bucket, status │ body   │ opaque │ cas   │
 *  └───────┴────────┴───────────┴────────┴──────┴────────────────┴────────┴────────┴───────┘
 * Behind it: extras, key, value; `body` is the length of the three together. */
export const MAGIC = 0; //        u8
export const OPCODE = 1; //       u8
export const KEY_BYTES = 2; //    u16
export const EXTRAS_BYTES = 4; // u8
export const STATUS = 6; //       u16  of a response
export const BODY_BYTES = 8; //   u32
export const OPAQUE = 12; //      u32  given back as it came
export const CAS = 16; //         u64

export const HEADER_BYTES = 24;
export const REQUEST = 0x80;
export const RESPONSE = 0x81;
