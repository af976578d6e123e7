// Who may ask the web server for what. It listens on loopback by default, where two kinds of
// strangers come all the same: pages in the operator's own browser that try addresses, and names of
// theirs that they let point to 127.0.0.1 ("DNS rebinding"). The first are told by what the browser
// says of where a request comes from, the second by the name in it.
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

/** Shorter ones can be guessed. */
const TOKEN_CHARS_MIN = 16;

export class Guard {
  readonly #hostnames: readonly string[];
  readonly #tokenHash: Buffer | undefined;

  /** @throws ZcacheError ERR_OPTION for a token that is too short */
  constructor(hostnames: readonly string[], token: string | undefined) {
    this.#hostnames = hostnames.map((name) => name.toLowerCase());
    if (token !== undefined && token.length < TOKEN_CHARS_MIN) {
      const message = `token: ${token.length} characters; at least ${TOKEN_CHARS_MIN}`;
      throw new ZcacheError("ERR_OPTION", message);
    }
    this.#tokenHash = token === undefined ? undefined : hashOf(token);
  }

  /** Whether there is a token, and so anything that can be changed. */
  get mayChange(): boolean {
    return this.#tokenHash !== undefined;
  }

  /** @returns why a request, whatever it asks for, is refused */
  refusal({ headers }: IncomingMessage): Refusal | undefined {
    if (!this.#isKnown(headers.host)) {
      const error = "this server is not known by that name; start it with that host name allowed";
      return { status: 403, error };
    }
    // Browsers say so of every request that a page of another site makes; others say nothing.
    const site = headers["sec-fetch-site"];
    if (site === "cross-site" || site === "same-site") {
      return { status: 403, error: "pages of other sites are not answered" };
    }
    return undefined;
  }

  /** @returns why a request that would change something is refused */
  changeRefusal({ headers }: IncomingMessage): Refusal | undefined {
    const given = /^Bearer +(\S+)$/i.exec(headers.authorization ?? "")?.[1];
    const isRight =
      given !== undefined &&
      this.#tokenHash !== undefined &&
      timingSafeEqual(hashOf(given), this.#tokenHash);
    if (isRight) return undefined;
    return {
      status: 401,
      error: given === undefined ? "a token is needed" : "this is not the token",
      headers: { "www-authenticate": "Bearer" },
    };
  }

  #isKnown(host: string | undefined): boolean {
    const match = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::\d{1,5})?$/i.exec(host ?? "");
    if (match === null) return false;
    // An address can't be made to point elsewhere.
    if (match[1] !== undefined) return isIP(match[1]) === 6;
    const name = match[2]!.toLowerCase();
    if (isIP(name) !== 0 || name === "localhost" || name.endsWith(".localhost")) return true;
    return this.#hostnames.includes("*") || this.#hostnames.includes(name);
  }
}

/** Of equal length whatever the token is, so that comparing says nothing of it. */
function hashOf(token: string): Buffer {
  return createHash("sha256").update(token).digest();
}
