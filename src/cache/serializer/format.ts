// The format of encoded values: that of `node:v8`'s structured clone (version 15), which
// `v8.deserialize` reads and earlier versions of this cache wrote. Objects for which V8 has no
// format are *host objects*: the tag `\`, a kind, and the data that make an empty object. The
// contents of such an object may refer to the object, so they follow behind the value, in the same
// order as the objects.
//
//  │ FF 0F │ the value … `\` kind payload … │ contents of the first │ of the second │ …
//
// Kinds below KIND_MIN are views of buffers, as Node itself writes them.

export const VERSION = 15;

// V8's tags (src/objects/value-serializer.cc).
export const Tag = {
  VERSION: 0xff,
  PADDING: 0x00,
  HOLE: 0x2d, // -
  UNDEFINED: 0x5f, // _
  NULL: 0x30, // 0
  TRUE: 0x54, // T
  FALSE: 0x46, // F
  INT32: 0x49, // I zigzag varint
  DOUBLE: 0x4e, // N
  BIGINT: 0x5a, // Z sign and bytes, digits
  LATIN1: 0x22, // " count, characters
  TWO_BYTE: 0x63, // c bytes, characters at an even place
  REFERENCE: 0x5e, // ^ number of an object
  BEGIN_OBJECT: 0x6f, // o
  END_OBJECT: 0x7b, // { properties
  BEGIN_SPARSE: 0x61, // a length
  END_SPARSE: 0x40, // @ properties, length
  BEGIN_DENSE: 0x41, // A length
  END_DENSE: 0x24, // $ properties, length
  DATE: 0x44, // D
  BEGIN_MAP: 0x3b, // ;
  END_MAP: 0x3a, // : keys and values
  BEGIN_SET: 0x27, // '
  END_SET: 0x2c, // , values
  ARRAY_BUFFER: 0x42, // B bytes
  RESIZABLE_BUFFER: 0x7e, // ~ bytes, at most
  HOST_OBJECT: 0x5c, // \ kind
} as const;

/** Kinds of host objects and their data; a * marks those with contents. */
export const Kind = {
  /** A value in V8's format; contents: the properties that V8 leaves out.* */
  EXTRA: 64,
  /** An object without a prototype; contents: its properties.* */
  NULL_PROTOTYPE: 65,
  /** Number of its class; contents: fields that are not enumerable, and fields that are.* */
  ERROR: 66,
  /** Message and name; contents as of ERROR.* */
  DOM_EXCEPTION: 67,
  /** Source, flags and lastIndex. */
  REGEXP: 68,
  /** The primitive. */
  BOXED: 69,
  /** Its href. */
  URL: 70,
  /** Its text. */
  SEARCH_PARAMS: 71,
} as const;

export const KIND_MIN = 64;
