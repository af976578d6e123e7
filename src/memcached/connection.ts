// The state of one connection, in the thread that serves it.
import { writeSync } from "node:fs";
import type { Socket } from "node:net";
import type { Receiver } from "./send_queue.ts";
import { Session } from "./session.ts";
import type { ConnectionFacts } from "./watch/records.ts";
import type { Watcher } from "./watch/watch.ts";

/** A part of sockets that is not public: the handle, which another socket can take over. */
export interface WithHandle {
  _handle: { readonly fd?: number } | null | undefined;
}

export class Connection implements Receiver {
  readonly id: number;
  /** Its descriptor; its `id` where the system has none. */
  readonly cfd: number;
  socket: Socket;
  readonly isEncrypted: boolean;
  /** Of the unix socket that it was accepted on. */
  readonly path: string | undefined;
  readonly session = new Session();
  /** What log lines say of it. Set once connections are watched: a closed one has no address. */
  facts: ConnectionFacts | undefined = undefined;
  watcher: Watcher | undefined = undefined;
  /** Watchers of connections have been told that it has ended. */
  isEndLogged = false;
  /** Nothing is read: replies wait for the client, or the connection waits for its turn. */
  isBlocked = false;
  /** It waits for its turn. */
  isQueued = false;
  /** Its last turn ended before its commands did. */
  isBusy = false;
  /** Its request waits for items on other machines. */
  isAwaiting = false;
  unsentBytes = 0;
  takenAtMs = 0;
  onTaken: (() => void) | undefined = undefined;

  constructor(id: number, socket: Socket, isEncrypted: boolean, path: string | undefined) {
    const fd = (socket as unknown as WithHandle)._handle?.fd ?? -1;
    this.id = id;
    this.cfd = fd >= 0 ? fd : id;
    this.socket = socket;
    this.isEncrypted = isEncrypted;
    this.path = path;
    this.session.lastCommandAt = Math.floor(Date.now() / 1000);
  }

  /** Whether commands wait for the next turn. */
  get hasWork(): boolean {
    return this.session.pendingBytes > 0 || this.session.longReply !== undefined;
  }

  /** To be called while it is open. */
  logFacts(): ConnectionFacts {
    if (this.facts === undefined) {
      const { remoteAddress, remotePort } = this.socket;
      this.facts = { cfd: this.cfd, host: remoteAddress, port: remotePort ?? 0 };
    }
    return this.facts;
  }

  /** Its lines of `stats conns`. */
  row(isCurrent: boolean, now: number) {
    const { cfd, path, session, socket } = this;
    return {
      id: cfd,
      facts: {
        addr: addressOf(socket.remoteAddress, socket.remotePort),
        listen_addr:
          path === undefined ? addressOf(socket.localAddress, socket.localPort) : `unix:${path}`,
        state: this.#state(isCurrent),
        secs_since_last_cmd: Math.max(0, now - session.lastCommandAt),
      },
    };
  }

  #state(isCurrent: boolean): string {
    if (this.watcher !== undefined) return "conn_watch";
    if (this.isAwaiting) return "conn_io_pending";
    if (this.isBlocked) return "conn_mwrite";
    if (this.session.need > 0) return "conn_nread";
    return isCurrent ? "conn_parse_cmd" : "conn_read";
  }

  /** Writes without a queue. @returns bytes that the system has accepted; 0 if it accepts none */
  writeAtOnce(bytes: Uint8Array, length: number): number {
    const { socket, isEncrypted } = this;
    const fd = isEncrypted ? undefined : (socket as unknown as WithHandle)._handle?.fd;
    if (fd === undefined || fd < 0) return 0;
    try {
      return writeSync(fd, bytes, 0, length);
    } catch {
      // The system accepts nothing now, or the connection has ended: the stream finds out which.
      return 0;
    }
  }
}

function addressOf(host: string | undefined, port: number | undefined): string {
  return host === undefined ? "unix" : `tcp:${host}:${port}`;
}
