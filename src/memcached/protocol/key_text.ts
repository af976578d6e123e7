// Keys in lines for people and programs. A key of the binary protocol, or a key in base64, may
// contain any byte; none of these bytes may end a line or look like another part of it.
const CONTROL_MAX = 32;
const DELETE = 127;

function encode(byte: number): string {
  return `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
}

/** Each byte as in a URI: letters, digits and `-._~` as they are, others as `%NN`. */
const ENCODED = Array.from({ length: 256 }, (_, byte) => {
  const letter = String.fromCharCode(byte);
  return /[A-Za-z0-9\-._~]/.test(letter) ? letter : encode(byte);
});

/** Each byte as it is, except spaces and control characters. */
const PRINTABLE = Array.from({ length: 256 }, (_, byte) =>
  byte <= CONTROL_MAX || byte === DELETE ? encode(byte) : String.fromCharCode(byte),
);

/** A key as in a URI. */
export function encodeKey(key: Uint8Array): string {
  let text = "";
  for (const byte of key) text += ENCODED[byte];
  return text;
}

/** A key as clients of the text protocol name it; spaces and control characters as in a URI. */
export function printableKey(key: Uint8Array): string {
  let text = "";
  for (const byte of key) text += PRINTABLE[byte];
  return text;
}

/** Whether a line of the text protocol can name the key as it is. */
export function isPlainKey(key: Uint8Array): boolean {
  return key.every((byte) => byte > CONTROL_MAX && byte !== DELETE);
}
