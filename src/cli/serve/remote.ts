// The remote tier of a service of the daemon: settings to options of `createRemote`.
import { readFileSync } from "node:fs";
import type { Remote } from "../../backing/remote_contract.ts";
import { ZcacheError } from "../../base/errors.ts";
import { createRemote } from "../../remote/remote.ts";
import type { RemoteValues } from "./settings.ts";

const MS_PER_SECOND = 1000;

/** The remote tier, if nodes are set; the password may be in the environment, too. */
export function remoteOf(values: RemoteValues): Remote | undefined {
  const nodes = values.remote.flat();
  if (nodes.length === 0) return undefined;
  const { remoteUsername: username, remotePasswordFile: passwordFile, remoteTlsCa: ca } = values;
  return createRemote({
    ...{ nodes, prefix: values.remotePrefix, copies: values.remoteCopies },
    timeoutMs: values.remoteTimeout * MS_PER_SECOND,
    ...(username === undefined ? {} : { username }),
    ...(passwordFile === undefined ? {} : { passwordFile }),
    ...(values.remoteTls || ca !== undefined
      ? { tls: ca === undefined ? true : { ca: textOf(ca) } }
      : {}),
  });
}

/** The text of a file. @throws ZcacheError ERR_IO */
export function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new ZcacheError("ERR_IO", (cause as Error).message, { cause });
  }
}
