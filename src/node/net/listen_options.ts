// Checks an address in a server's option `listen`.
import { describe } from "../../base/describe.ts";
import { ZcacheError } from "../../base/errors.ts";
import { checkOptionNames } from "../../base/option_names.ts";

const NAMES = ["host", "port", "path", "mode"];
const PORT_MAX = 65_535;
const MODE_MAX = 0o777;

/**
 * @param what the option's name for messages, such as `listen[0]`
 * @param more names of further options of this kind of server
 * @throws ZcacheError ERR_OPTION: neither an address nor a path, or an invalid one
 */
export function checkListen(what: string, place: unknown, more: readonly string[] = []): void {
  checkOptionNames(place, [...NAMES, ...more], what);
  const { host, port, path, mode } = place as Record<string, unknown>;
  if (path !== undefined) {
    if (typeof path !== "string" || path === "") refuse(`${what}.path`, path, "a path as text");
    if (host !== undefined || port !== undefined) {
      throw new ZcacheError("ERR_OPTION", `${what}: give either path, or host and port`);
    }
    const isMode = mode === undefined || isWhole(mode, MODE_MAX);
    if (!isMode) refuse(`${what}.mode`, mode, "permission bits from 0 to 0o777");
    return;
  }
  if (mode !== undefined) refuse(`${what}.mode`, mode, "it with a path only");
  if (!isWhole(port, PORT_MAX)) refuse(`${what}.port`, port, `a number from 0 to ${PORT_MAX}`);
  if (host !== undefined && (typeof host !== "string" || host === "")) {
    refuse(`${what}.host`, host, "a name or an address as text");
  }
}

function isWhole(value: unknown, max: number): boolean {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= max;
}

function refuse(what: string, value: unknown, allowed: string): never {
  const message = `${what}: ${describe(value)} is not allowed; give ${allowed}`;
  throw new ZcacheError("ERR_OPTION", message);
}
