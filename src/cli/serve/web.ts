// The web page as a service of the daemon: dashboard and metrics of the other services.
import { readFileSync } from "node:fs";
import { ZcacheError } from "../../base/errors.ts";
import type { Knob } from "../../base/knob.ts";
import type { Monitor } from "../../monitor/monitor.ts";
import { WebServer } from "../../monitor/web/server.ts";
import type { InternalErrors } from "../../node/internal_errors.ts";
import { complain } from "../exit.ts";
import { exposureWarning } from "./address.ts";
import { NEEDS_RESTART, type Service } from "./service.ts";
import type { WebValues } from "./settings.ts";

/** A shorter token could be guessed. */
const TOKEN_CHARS_MIN = 16;

/** @throws ZcacheError ERR_INPUT if the file can't be read, ERR_OPTION for a short token */
function tokenOf({ tokenFile }: WebValues): string | undefined {
  if (tokenFile === undefined) return undefined;
  let token: string;
  try {
    token = readFileSync(tokenFile, "utf8").trim();
  } catch (cause) {
    throw new ZcacheError("ERR_INPUT", `token-file: ${(cause as Error).message}`, { cause });
  }
  if (token.length >= TOKEN_CHARS_MIN) return token;
  throw new ZcacheError(
    "ERR_OPTION",
    `token-file: ${tokenFile} has ${token.length} characters; write at least ${TOKEN_CHARS_MIN}`,
  );
}

/**
 * Starts the web page.
 * @throws ZcacheError ERR_IO: it can't listen on the address; ERR_INPUT, ERR_OPTION: the token file
 */
export async function startWeb(
  values: WebValues,
  shown: {
    readonly monitors: readonly Monitor[];
    readonly knobs: readonly Knob[];
    readonly version: string;
    readonly errors: InternalErrors;
  },
): Promise<Service> {
  const { host, port } = values.listen;
  // Everyone who can connect can read: the page itself has no login.
  const warning = exposureWarning("web", [host], "a proxy with a login in front of it");
  if (warning !== undefined) complain(warning);
  const token = tokenOf(values);
  const server = await WebServer.start({
    ...{ host, port, hostnames: values.hostname, ...shown },
    ...(token === undefined ? {} : { token }),
  });
  return {
    ...{ name: "web", line: `web page on ${server.url}`, monitor: undefined },
    knobs: [],
    stats: () => ({}),
    prepare: () => NEEDS_RESTART,
    refresh: () => [],
    close: async () => {
      await server.close();
      return "";
    },
  };
}
