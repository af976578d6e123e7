// Names of codecs and pools, checked before anything is started.
import { ZcacheError } from "../../base/errors.ts";
import { nodeCodecs } from "../../node/codecs.ts";
import { findPoolDriver } from "../../pool/registry.ts";
import { notAllowed } from "./setting.ts";

/** @param also what may stand there besides the codecs */
export function checkCodec(name: string, what: string, also: readonly string[] = []): void {
  if (also.includes(name)) return;
  const registry = nodeCodecs();
  const found = registry.find(name);
  if (found === undefined) {
    const names = [...also, ...registry.names()].join(", ");
    throw notAllowed(what, name, `one of ${names}`);
  }
  if (found.available) return;
  const { reason, remedy } = found;
  throw new ZcacheError(
    "ERR_CODEC_UNAVAILABLE",
    `${what}: ${name} is not available: ${reason}; ${remedy}`,
  );
}

export function checkPool(name: string, what: string): void {
  try {
    findPoolDriver(name);
  } catch (error) {
    if (!(error instanceof ZcacheError)) throw error;
    throw new ZcacheError(error.code, `${what}: ${error.message}`, { cause: error });
  }
}

/** The denser codec that is used if nothing is said: zstd, where it can be had. */
export function denseDefault(): string {
  return nodeCodecs().find("zstd")?.available === true ? "zstd" : "none";
}
