// The version of this library. Values passed between threads carry it: a process may have two
// copies of the package, and one can't work in the other's memory.

/** The version in package.json; a test compares the two. */
export const VERSION = "0.1.0";

/** Tells the user how to get to one version. */
export const ONE_VERSION = "let all threads of a process import the same version of zcache";
