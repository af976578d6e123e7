// The file of a Unix socket: it outlives a server that is killed; its mode says who may connect.
import { chmodSync, existsSync, lstatSync, unlinkSync } from "node:fs";
import { connect, type Server } from "node:net";
import { isMainThread } from "node:worker_threads";
import { ZcacheError } from "../base/errors.ts";

/** Removes the socket that a server left which is no more. @throws ZcacheError ERR_IO */
export async function removeStale(path: string): Promise<void> {
  if (!existsSync(path)) return;
  if (!lstatSync(path).isSocket()) {
    throw new ZcacheError("ERR_IO", `${path} is there and is no socket`);
  }
  const isServed = await new Promise<boolean>((resolve) => {
    const client = connect(path);
    client.once("connect", () => resolve(true));
    client.once("error", () => resolve(false));
    client.once("close", () => resolve(false));
    client.once("connect", () => client.destroy());
  });
  if (isServed) throw new ZcacheError("ERR_IO", `another server listens on ${path}`);
  unlinkSync(path);
}

/** Where a server listens, and who may connect. */
export interface SocketPlace {
  readonly path: string;
  /** Permission bits of the file, whatever the umask is. */
  readonly mode: number;
  readonly backlog?: number | undefined;
}

/**
 * Listens on a Unix socket whose file has the given mode from its first moment. Events tell the
 * rest, as after `server.listen`.
 */
export function listenOnSocket(server: Server, { path, mode, backlog }: SocketPlace): void {
  // The file is there when `listen` returns. The mask is the process's: only its main thread may
  // change it, and nothing else of this thread runs meanwhile.
  const mask = isMainThread ? process.umask(0o777 & ~mode) : undefined;
  try {
    server.listen({ path, ...(backlog === undefined ? {} : { backlog }) });
  } finally {
    if (mask !== undefined) process.umask(mask);
  }
  // A server that could not listen must leave the file of another one alone.
  if (mask === undefined && server.listening) chmodSync(path, mode);
}
