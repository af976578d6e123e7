// TCP addresses of services: reading them, and the warning for those that other machines can reach.
import { ZcacheError } from "../../base/errors.ts";

export interface Address {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** The prefix of the address, such as `notls`; "" without a prefix. */
  readonly prefix: string;
}

/**
 * Reads `HOST:PORT`, `[V6]:PORT`, `HOST` or `:PORT`. The default host is 127.0.0.1.
 * @throws ZcacheError ERR_OPTION
 */
export function parseAddress(
  text: string,
  what: string,
  defaultPort: number,
  prefixes: readonly string[] = [],
): Address {
  const prefix = prefixes.find((one) => text.startsWith(`${one}:`)) ?? "";
  const rest = prefix === "" ? text : text.slice(prefix.length + 1);
  const match = /^(?:\[([0-9a-f:.]+)\]|([^:[\]]*))(?::(\d{1,5}))?$/i.exec(rest);
  const host = match?.[1] ?? match?.[2];
  const port = match?.[3] === undefined ? defaultPort : Number(match[3]);
  if (host === undefined || port > 65_535 || rest === "") {
    throw new ZcacheError(
      "ERR_OPTION",
      `${what}: "${text}" is not allowed; write HOST:PORT, such as 127.0.0.1:${defaultPort}`,
    );
  }
  return { host: host === "" ? "127.0.0.1" : host, port, prefix };
}

export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127\.\d+\.\d+\.\d+$/.test(host);
}

/**
 * Warns of a service that other machines can reach without authentication.
 * @param remedy the settings that restrict access
 * @returns undefined if all hosts are loopback
 */
export function exposureWarning(
  service: string,
  hosts: readonly string[],
  remedy: string,
): string | undefined {
  const open = hosts.find((host) => !isLoopback(host));
  if (open === undefined) return undefined;
  return `warning: ${service}: ${open} is open to other machines without authentication; \
use ${remedy}, or a loopback address`;
}
