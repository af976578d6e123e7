// A listening server with TLS, in a file of its own so that a server without TLS does not load it.
import { readFileSync } from "node:fs";
import type { Socket } from "node:net";
import { createSecureContext, createServer, type Server, type TlsOptions } from "node:tls";
import { ZcacheError } from "../base/errors.ts";
import type { Certificates, HandshakeLimits, TlsFiles } from "./endpoint.ts";

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

function limitHandshakes(server: Server, { handshakeMs, mayBegin }: HandshakeLimits): void {
  // By the client's address, which is all that the sockets before and after the handshake have in
  // common. Node's own limit restarts with each byte that is received.
  const begun = new Map<string, NodeJS.Timeout>();
  const end = (address: string) => {
    clearTimeout(begun.get(address));
    begun.delete(address);
  };
  server.on("connection", (socket: Socket) => {
    if (!mayBegin(begun.size)) {
      socket.destroy();
      return;
    }
    const address = addressOf(socket);
    begun.set(
      address,
      setTimeout(() => socket.destroy(), handshakeMs()),
    );
    socket.once("close", () => end(address));
  });
  server.on("secureConnection", (socket) => end(addressOf(socket)));
}

function addressOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}

/** @throws ZcacheError ERR_INPUT where a file can't be read, or is no certificate or key */
export function makeTlsServer(
  tls: TlsFiles,
  accept: (socket: Socket) => void,
  limits: HandshakeLimits,
): { readonly server: Server; readonly certificates: Certificates } {
  const server = orInputError(() => createServer(tlsOptions(tls), accept));
  server.on("tlsClientError", (_error, socket) => socket.destroy());
  limitHandshakes(server, limits);
  const certificates: Certificates = {
    check: () => {
      orInputError(() => createSecureContext(tlsOptions(tls)));
    },
    refresh: () => {
      try {
        server.setSecureContext(tlsOptions(tls));
        return true;
      } catch {
        return false;
      }
    },
  };
  return { server, certificates };
}

/** Reports errors of OpenSSL about a file as ERR_INPUT. */
function orInputError<T>(make: () => T): T {
  try {
    return make();
  } catch (cause) {
    if (cause instanceof ZcacheError) throw cause;
    const { message } = cause as Error;
    throw new ZcacheError("ERR_INPUT", `TLS certificate or key: ${message}`, { cause });
  }
}
