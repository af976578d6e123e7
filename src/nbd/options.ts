// Checks of the options of an NBD server, before anything is started: names and types, also in
// nested objects.
import { availableParallelism } from "node:os";
import { describe } from "../base/describe.ts";
import { ZcacheError } from "../base/errors.ts";
import { checkOptionNames } from "../base/option_names.ts";
import { checkListen } from "../node/net/listen_options.ts";
import { Zram } from "../zram/zram.ts";
import { checkExport } from "./exports.ts";

const NAMES = ["exports", "listen", "threads", "connectionsMax", "allow", "tls", "handshakeMs"];
const ALL_NAMES = [...NAMES, "practiceMs", "log"];
const EXPORT_NAMES = ["name", "description", "readOnly", "device"];
const TLS_NAMES = ["mode", "key", "cert", "ca"];
const TLS_MODES = ["required", "offered"];

/** One thread for each processor, at most 8. */
export function defaultThreads(): number {
  return Math.min(8, availableParallelism());
}

/** @throws ZcacheError ERR_OPTION naming the option and what is allowed */
export function checkNbdOptions(options: unknown): void {
  checkOptionNames(options, ALL_NAMES, "an NBD server");
  const { exports, listen, allow, tls, log } = options as Record<string, unknown>;
  for (const [nth, one] of listOf("exports", exports).entries()) {
    checkOptionNames(one, EXPORT_NAMES, `exports[${nth}]`);
    const { name, description, readOnly, device } = one as Record<string, unknown>;
    check(`exports[${nth}].name`, name, "string");
    check(`exports[${nth}].description`, description, "string");
    check(`exports[${nth}].readOnly`, readOnly, "boolean");
    if (!(device instanceof Zram)) refuse(`exports[${nth}].device`, device, "a Zram");
    else checkExport((name as string) ?? "", device.sizeBytes);
  }
  for (const [nth, one] of listOf("listen", listen).entries()) checkListen(`listen[${nth}]`, one);
  if (allow !== undefined && !(Array.isArray(allow) && allow.every(isString))) {
    refuse("allow", allow, "a list of addresses and networks, as text");
  }
  check("log", log, "function");
  if (tls === undefined) return;
  checkOptionNames(tls, TLS_NAMES, "tls");
  const { mode, key, cert, ca } = tls as Record<string, unknown>;
  if (mode !== undefined && !TLS_MODES.includes(mode as string)) {
    refuse("tls.mode", mode, `one of ${TLS_MODES.join(", ")}`);
  }
  if (!isString(key)) refuse("tls.key", key, "a private key as text, PEM");
  if (!isString(cert)) refuse("tls.cert", cert, "a certificate as text, PEM");
  check("tls.ca", ca, "string");
}

function isString(value: unknown): value is string {
  return typeof value === "string";
}

function listOf(what: string, value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) refuse(what, value, "a list");
  if (value.length === 0) throw new ZcacheError("ERR_OPTION", `${what}: none is given`);
  return value;
}

/** Checks an optional value's type. */
function check(what: string, value: unknown, type: "string" | "boolean" | "function"): void {
  if (value !== undefined && typeof value !== type) refuse(what, value, `a ${type}`);
}

function refuse(what: string, value: unknown, allowed: string): never {
  const message = `${what}: ${describe(value)} is not allowed; give ${allowed}`;
  throw new ZcacheError("ERR_OPTION", message);
}
