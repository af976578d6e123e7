// Readers of option values that name a thing: a codec, a pool, an export, a network. Each reader
// refuses a bad value before any service is started.

import { isIP } from "node:net";
import { ZcacheError } from "../../base/errors.ts";
import { nodeCodecs } from "../../node/codecs.ts";
import { findPoolDriver } from "../../pool/registry.ts";
import { parseSizeIn } from "../options.ts";
import { parseAddress } from "./address.ts";
import { notAllowed } from "./setting.ts";

/** @param also names that are allowed besides those of the codecs */
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

/** Checks the level of a codec that is available. */
export function checkCodecLevel(codec: string, level: number | undefined, what: string): void {
  if (level === undefined) return;
  const found = nodeCodecs().find(codec);
  const levels = found?.available === true ? found.levels : undefined;
  if (levels === undefined) {
    throw new ZcacheError("ERR_OPTION", `${what}: ${codec} has no levels; leave it out`);
  }
  if (level >= levels.min && level <= levels.max) return;
  throw notAllowed(what, String(level), `${levels.min} to ${levels.max}, the levels of ${codec}`);
}

export function checkPool(name: string, what: string): void {
  try {
    findPoolDriver(name);
  } catch (error) {
    if (!(error instanceof ZcacheError)) throw error;
    throw new ZcacheError(error.code, `${what}: ${error.message}`, { cause: error });
  }
}

/** The default codec for recompression: zstd if it is installed. */
export function denseDefault(): string {
  return nodeCodecs().find("zstd")?.available === true ? "zstd" : "none";
}

export interface NamedSize {
  readonly name: string;
  readonly sizeBytes: number;
}

/** Reads `NAME=SIZE`. */
export function parseExport(text: string, what: string): NamedSize {
  const at = text.lastIndexOf("=");
  if (at < 1) throw notAllowed(what, text, "NAME=SIZE");
  return { name: text.slice(0, at), sizeBytes: parseSizeIn(text.slice(at + 1), what) };
}

/** Checks an address or a network such as `10.0.0.0/8`. @returns the text unchanged */
export function parseNetwork(text: string, what: string): string {
  const [address = "", bits = "0", rest] = text.split("/");
  const most = isIP(address) === 6 ? 128 : 32;
  const isGood = isIP(address) > 0 && /^\d{1,3}$/.test(bits) && Number(bits) <= most;
  if (isGood && rest === undefined) return text;
  throw notAllowed(what, text, "an address or a network, such as 10.0.0.0/8 or fd00::/8");
}

const ENGINE_PORT = 6379;

/** Nodes of a cluster, separated by commas, each as "host:port". */
export function parseNodes(text: string, what: string): readonly string[] {
  return text.split(",").map((one) => {
    const { host, port } = parseAddress(one, what, ENGINE_PORT);
    return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
  });
}
