// Values as bytes: the format of `node:v8`'s structured clone (version 15), which `v8.deserialize`
// reads and former versions of this cache wrote. What V8 has no form for stands in it as a *host
// object*: the tag `\`, a kind, and what the kind needs to make an empty object. What is in such an
// object may lead back to it, so it follows behind the value, in the order in which they came.
//
//  │ FF 0F │ the value … `\` kind payload … │ contents of the first │ of the second │ …
//
// Kinds below KIND_MIN are the views over bytes that Node itself writes so.

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

/** Kinds of host objects. Those with a * have contents. */
export const Kind = {
  /** A value of V8's own, and the properties that V8 leaves out.* */
  EXTRA: 64,
  /** Properties without a prototype.* */
  NULL_PROTOTYPE: 65,
  /** Its class; fields that are not enumerable, and those that are.* */
  ERROR: 66,
  /** Message and name; as an error's.* */
  DOM_EXCEPTION: 67,
  /** Source, flags and lastIndex. */
  REGEXP: 68,
  /** The primitive. */
  BOXED: 69,
  /** Its href. */
  URL: 70,
  /** As text. */
  SEARCH_PARAMS: 71,
} as const;

export const KIND_MIN = 64;
