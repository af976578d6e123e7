// The file of a Unix socket: it outlives a killed server, and its mode says who may connect.
import { chmodSync, lstatSync, unlinkSync } from "node:fs";
import { connect, type Server } from "node:net";
import { isMainThread } from "node:worker_threads";
import { ZcacheError } from "../../base/errors.ts";

/**
 * Removes the socket of a server that has ended.
 * @throws ZcacheError ERR_IO: another server listens there, or may, or the file can't be removed
 */
export async function removeStale(path: string): Promise<void> {
  let isSocket: boolean;
  try {
    isSocket = lstatSync(path).isSocket();
  } catch {
    // There is no file; listening reports any other problem.
    return;
  }
  if (!isSocket) throw new ZcacheError("ERR_IO", `${path} exists and is not a socket`);
  const cause = await connectError(path);
  if (cause === undefined) throw inUse(path);
  // Only ECONNREFUSED means that no server listens; a busy server, for one, fails with other codes.
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

/** Tries to connect. @returns the error; undefined for a connection */
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

/** The path of a Unix socket, and its mode. */
export interface SocketPlace {
  readonly path: string;
  /** Permission bits of the file; the umask is not applied. */
  readonly mode: number;
  readonly backlog?: number | undefined;
}

/**
 * Listens on a Unix socket whose file has the given mode from the first moment. Success and failure
 * are events, as of `server.listen`.
 */
export function listenOnSocket(server: Server, { path, mode, backlog }: SocketPlace): void {
  // `listen` makes the file before it returns. Only the main thread may change the process's umask,
  // and none of its other code runs meanwhile.
  const mask = isMainThread ? process.umask(0o777 & ~mode) : undefined;
  try {
    server.listen({ path, ...(backlog === undefined ? {} : { backlog }) });
  } finally {
    if (mask !== undefined) process.umask(mask);
  }
  // If listening has failed, the file may be another server's.
  if (mask === undefined && server.listening) chmodSync(path, mode);
}
