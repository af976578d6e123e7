// The version of this library. What threads hand to each other carries it: a process may have two
// copies of the package, and one can't work in the other's memory.

/** That of package.json, which a test compares. */
export const VERSION = "0.1.0";

/** Says how to come to one version. */
export const ONE_VERSION = "let all threads of a process import the same version of zcache";
