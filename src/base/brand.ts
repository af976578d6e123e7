// Branded numbers. A frame number, an address and a handle are all integers, and mixing them up is
// the most common mistake in code of this kind. The brands exist for the compiler only.

declare const role: unique symbol;
export type Brand<T, Role extends string> = T & { readonly [role]: Role };

/** Number of a page frame in its arena; `frameToAddress` returns its address. */
export type PageFrame = Brand<number, "PageFrame">;
/** Byte address in an arena, 0 … 2³² − 1. It may exceed 31 bits: divide it, never shift it. */
export type Address = Brand<number, "Address">;
/** Index into an arena's `words` (32-bit words), 0 … 2³⁰ − 1. */
export type WordIndex = Brand<number, "WordIndex">;
/** Names one object of one pool, 1 … 2³¹ − 1; the meaning of its bits is private to the pool. */
export type Handle = Brand<number, "Handle">;

/**
 * "None" among numbers that are never negative. A bare literal type, because only with that does
 * `=== NIL` narrow.
 */
export type Nil = -1;
export const NIL: Nil = -1;
