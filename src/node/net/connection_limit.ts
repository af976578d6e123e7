// Limits the connections of a server. At the limit, a new connection replaces the one that has been
// idle longest, or is closed if none is idle. So clients that connect and send nothing keep no
// other client out.
import type { Socket } from "node:net";

export class ConnectionLimit {
  readonly #max: number;
  /** In the order in which they became idle. */
  readonly #idle = new Set<Socket>();
  readonly #busy = new Set<Socket>();

  constructor(max: number) {
    this.#max = max;
  }

  get connections(): number {
    return this.#idle.size + this.#busy.size;
  }

  /** Adds a connection, idle at first. @returns false if it was closed at once */
  add(socket: Socket): boolean {
    if (this.connections >= this.#max) {
      const [oldest] = this.#idle;
      if (oldest === undefined) {
        socket.destroy();
        return false;
      }
      this.#idle.delete(oldest);
      oldest.destroy();
    }
    this.#idle.add(socket);
    socket.once("close", () => {
      this.#idle.delete(socket);
      this.#busy.delete(socket);
    });
    return true;
  }

  /** Marks a connection as busy: it has a request in progress. */
  begin(socket: Socket): void {
    if (this.#idle.delete(socket)) this.#busy.add(socket);
  }

  /** Marks a connection as idle: all of its requests are done. */
  end(socket: Socket): void {
    if (this.#busy.delete(socket)) this.#idle.add(socket);
  }

  closeAll(): void {
    for (const socket of [...this.#idle, ...this.#busy]) socket.destroy();
  }
}
