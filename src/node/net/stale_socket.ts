// The file of a Unix socket: it outlives a server that is killed; its mode says who may connect.
import { chmodSync, lstatSync, unlinkSync } from "node:fs";
import { connect, type Server } from "node:net";
import { isMainThread } from "node:worker_threads";
import { ZcacheError } from "../../base/errors.ts";

/**
 * Removes the socket that a server left which is no more.
 * @throws ZcacheError ERR_IO: another server listens there, or it can't be found out or removed
 */
export async function removeStale(path: string): Promise<void> {
  let isSocket: boolean;
  try {
    isSocket = lstatSync(path).isSocket();
  } catch {
    // It is missing; whatever else is wrong with the path, listening says.
    return;
  }
  if (!isSocket) throw new ZcacheError("ERR_IO", `${path} is there and is no socket`);
  const cause = await connectError(path);
  if (cause === undefined) throw inUse(path);
  // Only a refusal says that nobody listens: a busy server, or another user's, fails otherwise.
  if (cause.code === "ENOENT") return;
  if (cause.code !== "ECONNREFUSED") throw inUse(path, cause);
  try {
    unlinkSync(path);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return;
    const what = `${path} is left from a server that has ended, and can't be removed`;
    throw new ZcacheError("ERR_IO", `${what}: ${message}`, { cause: error });
  }
}

/** @returns why nobody can connect; undefined if somebody can */
function connectError(path: string): Promise<NodeJS.ErrnoException | undefined> {
  return new Promise((resolve) => {
    const client = connect(path);
    client.once("error", resolve);
    client.once("connect", () => {
      client.destroy();
      resolve(undefined);
    });
  });
}

function inUse(path: string, cause?: Error): ZcacheError {
  const why = cause === undefined ? "" : ` (${cause.message})`;
  return new ZcacheError("ERR_IO", `another server listens on ${path}: it is in use${why}`, {
    cause,
  });
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
