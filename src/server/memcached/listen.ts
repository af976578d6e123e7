// Where a server listens: TCP, a unix socket, TLS. The thread that binds passes the descriptor on,
// and each thread listens on it, so that the system spreads connections over the threads.
import { lstatSync, readFileSync, unlinkSync } from "node:fs";
import { connect, createServer, type ListenOptions, type Server, type Socket } from "node:net";
import {
  createSecureContext,
  createServer as createTlsServer,
  type TlsOptions,
  type Server as TlsServer,
} from "node:tls";
import { ZcacheError } from "../../base/errors.ts";

/** Files of PEM text. */
export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
  /** Who signs clients' certificates; with it, a client must have one. */
  readonly ca?: string | undefined;
  readonly minVersion?: "TLSv1.2" | "TLSv1.3" | undefined;
}

export interface Endpoint {
  readonly host?: string | undefined;
  /** 0: any that is free. */
  readonly port?: number | undefined;
  /** A unix socket instead. */
  readonly path?: string | undefined;
  readonly tls?: TlsFiles | undefined;
}

export interface Listener {
  readonly endpoint: Endpoint;
  readonly server: Server | TlsServer;
  /** For the other threads; −1 where the system has none. */
  readonly fd: number;
}

/** @throws ZcacheError ERR_INPUT where a file can't be read */
function tlsOptions({ cert, key, ca, minVersion }: TlsFiles): TlsOptions {
  return {
    cert: readPem(cert, "--tls-cert"),
    key: readPem(key, "--tls-key"),
    minVersion: minVersion ?? "TLSv1.2",
    ...(ca === undefined
      ? {}
      : { ca: readPem(ca, "--tls-ca"), requestCert: true, rejectUnauthorized: true }),
  };
}

function readPem(path: string, what: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new ZcacheError("ERR_INPUT", `${what}: ${(cause as Error).message}`, { cause });
  }
}

function makeServer(endpoint: Endpoint, accept: (socket: Socket, encrypted: boolean) => void) {
  if (endpoint.tls === undefined) {
    return createServer({ pauseOnConnect: true }, (socket) => accept(socket, false));
  }
  let options: TlsOptions;
  try {
    options = tlsOptions(endpoint.tls);
    const server = createTlsServer(options, (socket) => accept(socket, true));
    server.on("tlsClientError", (_error, socket) => socket.destroy());
    return server;
  } catch (cause) {
    if (cause instanceof ZcacheError) throw cause;
    const { message } = cause as Error;
    throw new ZcacheError("ERR_INPUT", `TLS certificate or key: ${message}`, { cause });
  }
}

/** What is to be listened on: an endpoint, or the descriptor that another thread has bound. */
export async function listen(
  endpoint: Endpoint,
  accept: (socket: Socket, encrypted: boolean) => void,
  { fd, backlog }: { readonly fd?: number; readonly backlog: number },
): Promise<Listener> {
  const server = makeServer(endpoint, accept);
  if (endpoint.path !== undefined && fd === undefined) await removeLeftover(endpoint.path);
  const where: ListenOptions & { fd?: number } =
    fd !== undefined
      ? { fd }
      : endpoint.path !== undefined
        ? { path: endpoint.path, backlog }
        : { host: endpoint.host ?? "127.0.0.1", port: endpoint.port ?? 0, backlog };
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause: NodeJS.ErrnoException) => {
      const name = endpoint.path ?? `${endpoint.host ?? "127.0.0.1"}:${endpoint.port}`;
      const why = cause.code === "EADDRINUSE" ? "it is in use" : cause.message;
      reject(new ZcacheError("ERR_IO", `can't listen on ${name}: ${why}`, { cause }));
    });
    server.listen(where, resolve);
  });
  // A failure to accept one connection, for want of descriptors say, is not the server's end.
  server.on("error", () => {});
  const handle = (server as unknown as { _handle?: { fd?: number } })._handle;
  return { endpoint, server, fd: handle?.fd ?? -1 };
}

/** A socket that nobody listens on any more is what a killed server has left: it goes. */
async function removeLeftover(path: string): Promise<void> {
  const code = await new Promise<string | undefined>((resolve) => {
    const probe = connect(path);
    probe.once("connect", () => {
      probe.destroy();
      resolve(undefined);
    });
    probe.once("error", (error: NodeJS.ErrnoException) => resolve(error.code));
  });
  // Refused by a socket; a file that is no socket is ENOTSOCK or the like, and stays.
  if (code !== "ECONNREFUSED" || !lstatSync(path).isSocket()) return;
  unlinkSync(path);
}

/**
 * Looks whether certificate and key can be read again.
 * @throws ZcacheError ERR_INPUT
 */
export function checkTls(tls: TlsFiles): void {
  try {
    createSecureContext(tlsOptions(tls));
  } catch (cause) {
    if (cause instanceof ZcacheError) throw cause;
    const { message } = cause as Error;
    throw new ZcacheError("ERR_INPUT", `TLS certificate or key: ${message}`, { cause });
  }
}

/** Reads certificate and key again, for connections to come. */
export function refreshTls({ endpoint, server }: Listener): boolean {
  if (endpoint.tls === undefined) return false;
  try {
    (server as TlsServer).setSecureContext(tlsOptions(endpoint.tls));
    return true;
  } catch {
    return false;
  }
}
