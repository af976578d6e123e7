// Packages that zcache uses if the application has installed them: koffi, lzo and zstd-napi.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

/**
 * Where this package is. A bundle in CommonJS has no such URL: there it is the working directory.
 */
export const PACKAGE_URL =
  (import.meta.url as string | undefined) ?? pathToFileURL(`${process.cwd()}/`).href;

/** @throws Error if the package is not installed, or does not load here */
export const requireOptional = createRequire(PACKAGE_URL);
