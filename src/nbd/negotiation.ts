// The handshake with one client, from its flags to its choice of an export: bytes in, bytes out, no
// socket. The server keeps at most one option of OPTION_BYTES_MAX for a client. The number of
// options is limited here, and the time in session.ts.
import { flagsOf, type NbdExport } from "./exports.ts";
import {
  asksForAllocation,
  blockSizeInfo,
  CLIENT_FLAGS_BYTES,
  exportInfo,
  exportNameReply,
  metaContextData,
  OPTION_HEADER_BYTES,
  optionReply,
  parseClientFlags,
  parseInfoRequest,
  parseMetaRequest,
  parseName,
  parseOptionHeader,
  serverData,
  textInfo,
} from "./protocol/handshake.ts";
import { ALLOCATION_CONTEXT, Info, Option, PAYLOAD_BYTES_MAX, Reply } from "./protocol/protocol.ts";

/** Room for two names of the greatest length and some queries; no client sends half as much. */
const OPTION_BYTES_MAX = 16 * 1024;
/** Clients send about ten. */
const OPTIONS_MAX = 256;
/** The server's number for the metadata context "base:allocation". */
export const ALLOCATION_ID = 1;

export type Tls = "none" | "offered" | "required" | "active";

/** How a handshake ends. */
export type Outcome =
  | { readonly next: "closed" }
  | { readonly next: "tls" }
  | {
      readonly next: "transmission";
      readonly export: NbdExport;
      readonly structured: boolean;
      readonly allocation: boolean;
    };

export class Negotiation {
  readonly #exports: readonly NbdExport[];
  readonly #tls: Tls;
  readonly #send: (bytes: Uint8Array) => void;
  #pending = new Uint8Array(0);
  /** Bytes of an option that is too long, still to be skipped. */
  #skip = 0;
  #options = 0;
  #hasFlags: boolean;
  #noZeroes = false;
  #structured = false;
  /** The export for which the client has chosen "base:allocation". */
  #metaExport: NbdExport | undefined;

  /** @param tls "active" after STARTTLS: the client has sent its flags before */
  constructor(exports: readonly NbdExport[], tls: Tls, send: (bytes: Uint8Array) => void) {
    this.#exports = exports;
    this.#tls = tls;
    this.#send = send;
    this.#hasFlags = tls === "active";
  }

  /** Bytes behind the handshake: they belong to what is next. */
  get rest(): Uint8Array {
    return this.#pending;
  }

  /**
   * Processes bytes of the client, and copies those that it keeps.
   * @returns what is next; undefined while the handshake goes on
   */
  feed(bytes: Uint8Array): Outcome | undefined {
    this.#pending = concat(this.#pending, bytes);
    for (;;) {
      if (this.#skip > 0) {
        const size = Math.min(this.#skip, this.#pending.length);
        this.#pending = this.#pending.slice(size);
        this.#skip -= size;
        if (this.#skip > 0) return undefined;
      }
      const before = this.#pending.length;
      const outcome = this.#hasFlags ? this.#takeOption() : this.#takeFlags();
      if (outcome !== undefined) return outcome;
      if (this.#pending.length === before) return undefined;
    }
  }

  #take(size: number): Uint8Array {
    const taken = this.#pending.subarray(0, size);
    this.#pending = this.#pending.slice(size);
    return taken;
  }

  #takeFlags(): Outcome | undefined {
    if (this.#pending.length < CLIENT_FLAGS_BYTES) return undefined;
    const flags = parseClientFlags(this.#take(CLIENT_FLAGS_BYTES));
    if (flags === null) return { next: "closed" };
    this.#noZeroes = flags.noZeroes;
    this.#hasFlags = true;
    return undefined;
  }

  #takeOption(): Outcome | undefined {
    if (this.#pending.length < OPTION_HEADER_BYTES) return undefined;
    const header = parseOptionHeader(this.#pending);
    if (header === null || ++this.#options > OPTIONS_MAX) return { next: "closed" };
    const { option, lengthBytes } = header;
    if (lengthBytes > OPTION_BYTES_MAX) {
      // EXPORT_NAME has no error replies: the connection ends.
      if (option === Option.EXPORT_NAME) return { next: "closed" };
      this.#take(OPTION_HEADER_BYTES);
      this.#skip = lengthBytes;
      this.#reply(option, Reply.ERR_TOO_BIG, `an option has at most ${OPTION_BYTES_MAX} bytes`);
      return undefined;
    }
    if (this.#pending.length < OPTION_HEADER_BYTES + lengthBytes) {
      this.#options--;
      return undefined;
    }
    this.#take(OPTION_HEADER_BYTES);
    return this.#answer(option, this.#take(lengthBytes));
  }

  #answer(option: number, data: Uint8Array): Outcome | undefined {
    if (option === Option.ABORT) {
      this.#reply(option, Reply.ACK);
      return { next: "closed" };
    }
    if (option === Option.STARTTLS) return this.#startTls(data);
    if (this.#tls === "required") {
      if (option === Option.EXPORT_NAME) return { next: "closed" };
      this.#reply(option, Reply.ERR_TLS_REQD, "STARTTLS first");
      return undefined;
    }
    switch (option) {
      case Option.EXPORT_NAME:
        return this.#exportName(data);
      case Option.LIST:
        this.#list(data);
        return undefined;
      case Option.INFO:
      case Option.GO:
        return this.#info(option, data);
      case Option.STRUCTURED_REPLY:
        if (data.length !== 0) this.#invalid(option);
        else {
          this.#structured = true;
          this.#reply(option, Reply.ACK);
        }
        return undefined;
      case Option.LIST_META_CONTEXT:
      case Option.SET_META_CONTEXT:
        this.#meta(option, data);
        return undefined;
      default:
        this.#reply(option, Reply.ERR_UNSUP);
        return undefined;
    }
  }

  #startTls(data: Uint8Array): Outcome | undefined {
    const option = Option.STARTTLS;
    if (data.length !== 0 || this.#tls === "active") this.#invalid(option);
    else if (this.#tls === "none") this.#reply(option, Reply.ERR_UNSUP);
    else {
      this.#reply(option, Reply.ACK);
      return { next: "tls" };
    }
    return undefined;
  }

  #exportName(data: Uint8Array): Outcome {
    const one = this.#find(parseName(data));
    if (one === undefined) return { next: "closed" };
    const flags = flagsOf(one, this.#structured);
    this.#send(exportNameReply(one.device.sizeBytes, flags, this.#noZeroes));
    return this.#chosen(one);
  }

  #list(data: Uint8Array): void {
    if (data.length !== 0) {
      this.#invalid(Option.LIST);
      return;
    }
    for (const { name } of this.#exports) {
      this.#reply(Option.LIST, Reply.SERVER, serverData(name));
    }
    this.#reply(Option.LIST, Reply.ACK);
  }

  #info(option: number, data: Uint8Array): Outcome | undefined {
    const request = parseInfoRequest(data);
    if (request === null) {
      this.#invalid(option);
      return undefined;
    }
    const one = this.#find(request.name);
    if (one === undefined) {
      this.#reply(option, Reply.ERR_UNKNOWN, `there is no export "${request.name}"`);
      return undefined;
    }
    const { device, name, description } = one;
    const flags = flagsOf(one, this.#structured);
    this.#reply(option, Reply.INFO, exportInfo(device.sizeBytes, flags));
    if (request.types.includes(Info.NAME)) {
      this.#reply(option, Reply.INFO, textInfo(Info.NAME, name));
    }
    if (request.types.includes(Info.DESCRIPTION)) {
      this.#reply(option, Reply.INFO, textInfo(Info.DESCRIPTION, description));
    }
    const sizes = blockSizeInfo(1, device.pageSize, PAYLOAD_BYTES_MAX);
    this.#reply(option, Reply.INFO, sizes);
    this.#reply(option, Reply.ACK);
    return option === Option.GO ? this.#chosen(one) : undefined;
  }

  #meta(option: number, data: Uint8Array): void {
    const request = parseMetaRequest(data);
    if (option === Option.SET_META_CONTEXT) this.#metaExport = undefined;
    if (request === null || !this.#structured) {
      this.#invalid(option);
      return;
    }
    const one = this.#find(request.name);
    if (one === undefined) {
      this.#reply(option, Reply.ERR_UNKNOWN, `there is no export "${request.name}"`);
      return;
    }
    const isList = option === Option.LIST_META_CONTEXT;
    const isWanted = request.queries.some((query) => asksForAllocation(query, isList));
    if (isWanted || (isList && request.queries.length === 0)) {
      const id = isList ? 0 : ALLOCATION_ID;
      this.#reply(option, Reply.META_CONTEXT, metaContextData(id, ALLOCATION_CONTEXT));
      if (!isList) this.#metaExport = one;
    }
    this.#reply(option, Reply.ACK);
  }

  #chosen(one: NbdExport): Outcome {
    return {
      next: "transmission",
      export: one,
      structured: this.#structured,
      allocation: this.#metaExport === one,
    };
  }

  /** Finds an export by name; the empty name means the only export, if there is only one. */
  #find(name: string | null): NbdExport | undefined {
    const found = this.#exports.find((one) => one.name === name);
    if (found !== undefined || name !== "" || this.#exports.length !== 1) return found;
    return this.#exports[0];
  }

  #invalid(option: number): void {
    this.#reply(option, Reply.ERR_INVALID);
  }

  #reply(option: number, type: number, data?: Uint8Array | string): void {
    this.#send(optionReply(option, type, data));
  }
}

function concat(left: Uint8Array, right: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(left.length + right.length);
  both.set(left);
  both.set(right, left.length);
  return both;
}
