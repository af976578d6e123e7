// Where a server listens, and with which certificate.

/** Files of PEM text. */
export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
  /** Certificates of the authorities that sign clients'; with it, a client must have one. */
  readonly ca?: string | undefined;
  readonly minVersion?: "TLSv1.2" | "TLSv1.3" | undefined;
}

export interface Endpoint {
  readonly host?: string | undefined;
  /** 0: any free port. */
  readonly port?: number | undefined;
  /** A unix socket instead. */
  readonly path?: string | undefined;
  /** Permission bits of the unix socket, whatever the umask is (default 0700). */
  readonly mode?: number | undefined;
  readonly tls?: TlsFiles | undefined;
}

/** Certificate and key of a server, whose files may be replaced while it runs. */
export interface Certificates {
  /** Checks that they can be read, and changes nothing. @throws ZcacheError ERR_INPUT */
  check(): void;
  /** Reads them again, for new connections. @returns whether they are good */
  refresh(): boolean;
}

/** Limits of TLS handshakes: each takes memory and a descriptor before the client is known. */
export interface HandshakeLimits {
  /** The time that a handshake may take in all, in milliseconds. */
  readonly handshakeMs: () => number;
  /** Whether one more may begin while so many are under way. */
  readonly mayBegin: (handshakes: number) => boolean;
}
