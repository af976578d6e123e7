// Builds and runs lz4_native.c, which times the reference LZ4 library on the same pages.
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Timing } from "./timing.ts";

/** The C source lies beside the TypeScript source, not in the built tree. */
const SOURCE = ["./lz4_native.c", "../../../bench/codec/lz4_native.c"]
  .map((path) => fileURLToPath(new URL(path, import.meta.url)))
  .find((path) => existsSync(path));

export interface NativeLz4 {
  /** One pass over the pages in `file`. */
  measure(file: string, pageSize: number): { compress: Timing; decompress: Timing; bytes: number };
}

/** @returns the program, built in `folder`, or the reason why there is none */
export function buildNativeLz4(folder: string): NativeLz4 | string {
  if (SOURCE === undefined) return "bench/codec/lz4_native.c is not here";
  const program = join(folder, "lz4_native");
  try {
    execFileSync("gcc", ["-O2", "-o", program, SOURCE, "-llz4"], { stdio: "pipe" });
  } catch (error) {
    const { code, stderr } = error as { code?: string; stderr?: Buffer };
    if (code === "ENOENT") return "gcc is not installed";
    const missing = String(stderr).includes("lz4.h");
    return missing ? "lz4.h is not installed (package liblz4-dev)" : `gcc failed: ${stderr}`;
  }
  return {
    measure(file, pageSize) {
      const line = execFileSync(program, [file, String(pageSize), "1"], { encoding: "utf8" });
      const [c, c50, c99, d, d50, d99, bytes] = line.split(" ").map(Number);
      return {
        compress: { meanNs: c!, p50Ns: c50!, p99Ns: c99! },
        decompress: { meanNs: d!, p50Ns: d50!, p99Ns: d99! },
        bytes: bytes!,
      };
    },
  };
}
