// Where a service listens by TCP, as people write it, and whether that is open to others.
import { ZcacheError } from "../../base/errors.ts";

export interface Address {
  readonly host: string;
  /** 0: any that is free. */
  readonly port: number;
  /** What stood before it, such as `notls`; "" if nothing did. */
  readonly prefix: string;
}

/**
 * Reads `HOST:PORT`, `[V6]:PORT`, `HOST` or `:PORT`; without a host it is loopback.
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

/** What somebody should know before others find out; undefined where nobody else can connect. */
export function exposureWarning(
  service: string,
  hosts: readonly string[],
  remedy: string,
): string | undefined {
  const open = hosts.find((host) => !isLoopback(host));
  if (open === undefined) return undefined;
  return `warning: ${service}: ${open} is open to other machines, and nobody has to say who they \
are; give ${remedy} or a loopback address`;
}
