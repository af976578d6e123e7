// How many connections a server has at once. One more than that is let in if one of the others has
// nothing to do: the one that has been idle longest gives way. So clients that connect and say
// nothing, however many, keep nobody out.
import type { Socket } from "node:net";

export class ConnectionLimit {
  readonly #max: number;
  /** In the order in which they became idle: the first one has been so longest. */
  readonly #idle = new Set<Socket>();
  readonly #busy = new Set<Socket>();

  constructor(max: number) {
    this.#max = max;
  }

  get connections(): number {
    return this.#idle.size + this.#busy.size;
  }

  /** Takes a connection, which is idle at first. @returns false if it was closed at once */
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

  /** The server works for it. */
  begin(socket: Socket): void {
    if (this.#idle.delete(socket)) this.#busy.add(socket);
  }

  /** The server has done all that the client has asked for. */
  end(socket: Socket): void {
    if (this.#busy.delete(socket)) this.#idle.add(socket);
  }

  closeAll(): void {
    for (const socket of [...this.#idle, ...this.#busy]) socket.destroy();
  }
}
