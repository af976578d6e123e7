// Access rules of the web server. Listening on loopback does not keep out pages of other sites in
// the operator's own browser: such a page can send requests to 127.0.0.1 (cross-site requests), or
// let a host name of its own point there (DNS rebinding). The header Sec-Fetch-Site, which browsers
// set, reveals the former, and the Host header the latter. Changes also need a token.
import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { isIP } from "node:net";
import { ZcacheError } from "../../base/errors.ts";

/** Why a request is not answered. */
export interface Refusal {
  readonly status: number;
  readonly error: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A shorter token could be guessed. */
const TOKEN_CHARS_MIN = 16;

export class Guard {
  readonly #hostnames: readonly string[];
  readonly #tokenHash: Buffer | undefined;

  /** @throws ZcacheError ERR_OPTION for a token that is too short */
  constructor(hostnames: readonly string[], token: string | undefined) {
    this.#hostnames = hostnames.map((name) => name.toLowerCase());
    if (token !== undefined && token.length < TOKEN_CHARS_MIN) {
      const message = `token: ${token.length} characters; write at least ${TOKEN_CHARS_MIN}`;
      throw new ZcacheError("ERR_OPTION", message);
    }
    this.#tokenHash = token === undefined ? undefined : hashOf(token);
  }

  /** Whether a token is set; without one nothing can be changed. */
  get mayChange(): boolean {
    return this.#tokenHash !== undefined;
  }

  /** Checks where any request comes from. @returns why it is refused, or undefined */
  refusal({ headers }: IncomingMessage): Refusal | undefined {
    if (!this.#isKnown(headers.host)) {
      const error = "this host name is not allowed; add it to the hostname setting of the server";
      return { status: 403, error };
    }
    // Browsers set this header; other clients do not send it.
    const site = headers["sec-fetch-site"];
    if (site === "cross-site" || site === "same-site") {
      return { status: 403, error: "requests of other sites' pages are refused" };
    }
    return undefined;
  }

  /** Checks the token of a request that changes something. @returns why it is refused */
  changeRefusal({ headers }: IncomingMessage): Refusal | undefined {
    const given = /^Bearer +(\S+)$/i.exec(headers.authorization ?? "")?.[1];
    const isRight =
      given !== undefined &&
      this.#tokenHash !== undefined &&
      timingSafeEqual(hashOf(given), this.#tokenHash);
    if (isRight) return undefined;
    return {
      status: 401,
      error: given === undefined ? "a token is required" : "the token is wrong",
      headers: { "www-authenticate": "Bearer" },
    };
  }

  #isKnown(host: string | undefined): boolean {
    const match = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::\d{1,5})?$/i.exec(host ?? "");
    if (match === null) return false;
    // An address, unlike a name, can't be made to point elsewhere.
    if (match[1] !== undefined) return isIP(match[1]) === 6;
    const name = match[2]!.toLowerCase();
    if (isIP(name) !== 0 || name === "localhost" || name.endsWith(".localhost")) return true;
    return this.#hostnames.includes("*") || this.#hostnames.includes(name);
  }
}

/** A hash has the same length for every token, so the time of a comparison reveals nothing. */
function hashOf(token: string): Buffer {
  return createHash("sha256").update(token).digest();
}
