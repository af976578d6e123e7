// Numbers with roles: a frame number, an address and a handle are all integers, and mixing them up
// is the commonest mistake in code of this kind. The brand exists for the compiler only.

declare const role: unique symbol;
export type Brand<T, Role extends string> = T & { readonly [role]: Role };

/** Number of a page frame in its arena; `frameToAddress` gives its first byte. */
export type PageFrame = Brand<number, "PageFrame">;
/** Byte address in an arena, 0 … 2³² − 1: may exceed 31 bits, so never shift it, divide it. */
export type Address = Brand<number, "Address">;
/** Index into an arena's `words` (32-bit words), 0 … 2³⁰ − 1. */
export type WordIndex = Brand<number, "WordIndex">;
/** Names one object of one pool, 1 … 2³¹ − 1; what its bits mean is the pool's own business. */
export type Handle = Brand<number, "Handle">;

/**
 * "None" among numbers that are never negative. A bare literal, because only so `=== NIL` narrows.
 */
export type Nil = -1;
export const NIL: Nil = -1;
