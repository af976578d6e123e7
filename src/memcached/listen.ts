// Listens: on TCP or a unix socket, with or without TLS. One thread binds and passes the descriptor
// on; each thread listens on it, so that the system distributes connections over the threads.
import { lstatSync, unlinkSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import type { Server as TlsServer } from "node:tls";
import { ZcacheError } from "../base/errors.ts";
import type { InternalErrors } from "../node/internal_errors.ts";
import { listenOnSocket } from "../node/net/stale_socket.ts";
import type { Certificates, Endpoint, HandshakeLimits } from "./endpoint.ts";

export interface Listener {
  readonly endpoint: Endpoint;
  readonly server: Server | TlsServer;
  /** Undefined without TLS. */
  readonly certificates: Certificates | undefined;
  /** For the other threads; −1 where the system has none. */
  readonly fd: number;
}

/** As memcached's: only the user that runs the server may connect. */
const SOCKET_MODE = 0o700;

interface ListenOptions {
  /** The descriptor of the endpoint, if another thread has bound it. */
  readonly fd: number | undefined;
  readonly backlog: number;
  readonly errors: InternalErrors;
  readonly handshakes: HandshakeLimits;
}

type Accept = (socket: Socket, encrypted: boolean) => void;

async function makeServer({ tls }: Endpoint, accept: Accept, limits: HandshakeLimits) {
  if (tls === undefined) {
    const server = createServer({ pauseOnConnect: true }, (socket) => accept(socket, false));
    return { server, certificates: undefined };
  }
  // Node's TLS takes a megabyte or two: it is loaded only where there is a certificate.
  const { makeTlsServer } = await import("./listen_tls.ts");
  return makeTlsServer(tls, (socket) => accept(socket, true), limits);
}

/** Listens on an endpoint, or on the descriptor that another thread has bound for it. */
export async function listen(
  endpoint: Endpoint,
  accept: Accept,
  { fd, backlog, errors, handshakes }: ListenOptions,
): Promise<Listener> {
  const { server, certificates } = await makeServer(endpoint, accept, handshakes);
  if (endpoint.path !== undefined && fd === undefined) await removeStaleSocket(endpoint.path);
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause: NodeJS.ErrnoException) => {
      const name = endpoint.path ?? `${endpoint.host ?? "127.0.0.1"}:${endpoint.port}`;
      const why = cause.code === "EADDRINUSE" ? "it is in use" : cause.message;
      reject(new ZcacheError("ERR_IO", `can't listen on ${name}: ${why}`, { cause }));
    });
    server.once("listening", resolve);
    const { path, host = "127.0.0.1", port = 0, mode = SOCKET_MODE } = endpoint;
    if (fd !== undefined) server.listen({ fd });
    else if (path !== undefined) listenOnSocket(server, { path, mode, backlog });
    else server.listen({ host, port, backlog });
  });
  // A connection that can't be accepted, for want of descriptors say, does not end the server.
  server.on("error", (error) => errors.report("memcached: a connection not accepted", error));
  const handle = (server as unknown as { _handle?: { fd?: number } })._handle;
  return { endpoint, server, certificates, fd: handle?.fd ?? -1 };
}

/** Removes a socket that a killed server has left: one that nobody listens on. */
async function removeStaleSocket(path: string): Promise<void> {
  const code = await new Promise<string | undefined>((resolve) => {
    const probe = connect(path);
    probe.once("connect", () => {
      probe.destroy();
      resolve(undefined);
    });
    probe.once("error", (error: NodeJS.ErrnoException) => resolve(error.code));
  });
  // A socket refuses; a file that is not a socket gives ENOTSOCK or the like, and stays.
  if (code !== "ECONNREFUSED" || !lstatSync(path).isSocket()) return;
  unlinkSync(path);
}
