// Makes a server listen: with the reason in words if that fails, and with a handler of later
// errors, such as the lack of a free descriptor to accept a connection.
import { statSync } from "node:fs";
import type { Server } from "node:net";
import { dirname, resolve } from "node:path";
import { ZcacheError } from "../../base/errors.ts";
import type { InternalErrors } from "../internal_errors.ts";
import { listenOnSocket, removeStale, type SocketPlace } from "./stale_socket.ts";

export interface TcpPlace {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  readonly backlog?: number | undefined;
}

/** The longest path in the address of a Unix socket. */
const PATH_BYTES_MAX = 107;

const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: "another program listens there: the address is in use",
  EADDRNOTAVAIL: "this machine has no such address",
  EAFNOSUPPORT: "this machine has no such kind of address",
  ENOTFOUND: "there is no such host",
  EAI_AGAIN: "the name of the host can't be looked up now",
  EMFILE: "too many files are open",
  ENOTDIR: "a part of the path is not a folder",
  EROFS: "the file system is read-only",
  ENOSPC: "the file system is full",
};

/**
 * Listens. The file of a Unix socket has its mode from the first moment.
 * @param unit for later errors, such as "nbd"
 * @throws ZcacheError ERR_IO with the reason
 */
export async function listen(
  server: Server,
  place: TcpPlace | SocketPlace,
  unit: string,
  errors: InternalErrors,
): Promise<void> {
  if ("path" in place) {
    checkPath(place.path);
    await removeStale(place.path);
  }
  await new Promise<void>((done, reject) => {
    const failed = (cause: Error) => reject(listenError(place, cause));
    server.once("error", failed);
    server.once("listening", () => {
      server.off("error", failed);
      server.on("error", (error) => errors.report(`${unit}: accepting a connection`, error));
      done();
    });
    if ("path" in place) listenOnSocket(server, place);
    else server.listen({ ...place });
  });
}

/** The reason in words why a server can't listen. */
export function listenError(place: TcpPlace | SocketPlace, cause: Error): ZcacheError {
  const where = "path" in place ? place.path : `${place.host}:${place.port}`;
  const { code = "" } = cause as NodeJS.ErrnoException;
  let reason = REASONS[code];
  // Node reports a missing folder by this code too.
  if (code === "EACCES") {
    reason = "path" in place ? accessReason(place.path) : "the port needs a privilege";
  }
  const why = reason === undefined ? cause.message : `${reason} (${code})`;
  return new ZcacheError("ERR_IO", `can't listen on ${where}: ${why}`, { cause });
}

function accessReason(path: string): string {
  const folder = dirname(resolve(path));
  try {
    if (!statSync(folder).isDirectory()) return `${folder} is not a folder`;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return `there is no folder ${folder}; create it first`;
    if (code === "ENOTDIR") return `${folder} is not a folder`;
  }
  return `permission denied in ${folder}`;
}

function checkPath(path: string): void {
  const bytes = Buffer.byteLength(path);
  if (bytes <= PATH_BYTES_MAX && !path.includes("\0")) return;
  const why = path.includes("\0")
    ? "a path has no zero byte"
    : `the path of a socket has at most ${PATH_BYTES_MAX} bytes, this one has ${bytes}`;
  throw new ZcacheError("ERR_OPTION", `can't listen on ${path}: ${why}`);
}
