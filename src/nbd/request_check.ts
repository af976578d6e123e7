// Checks a request before any of it is done, by what the handshake has agreed on and by the device.
import type { NbdExport } from "./exports.ts";
import { Command, CommandFlag, NbdError, PAYLOAD_BYTES_MAX } from "./protocol/protocol.ts";
import type { Request } from "./protocol/transmission.ts";

/** What of a handshake matters to requests. */
export interface Agreed {
  readonly export: NbdExport;
  /** Structured replies. */
  readonly structured: boolean;
  /** Metadata context "base:allocation", which BLOCK_STATUS needs. */
  readonly allocation: boolean;
}

/** Kinds of requests whose times are measured separately. */
export const REQUEST_KINDS = ["read", "write", "other"] as const;
/** In the API reference, the names themselves. @useDeclaredType */
export type RequestKind = (typeof REQUEST_KINDS)[number];

/** The place of a command in REQUEST_KINDS. */
export function kindOf(command: number): number {
  return command === Command.READ ? 0 : command === Command.WRITE ? 1 : 2;
}

/** @returns the error of the protocol that a request is refused with, or NONE */
export function requestError(request: Request, agreed: Agreed): number {
  const { command, flags, offset, lengthBytes } = request;
  const allowed = allowedFlags(command, agreed.structured, agreed.allocation);
  if (allowed < 0 || (flags & ~allowed) !== 0) return NbdError.EINVAL;
  if (command === Command.DISC) return NbdError.NONE;
  if (command === Command.FLUSH) {
    return offset === 0 && lengthBytes === 0 ? NbdError.NONE : NbdError.EINVAL;
  }
  const stores = command === Command.WRITE || command === Command.WRITE_ZEROES;
  if (agreed.export.readOnly && (stores || command === Command.TRIM)) return NbdError.EPERM;
  if (lengthBytes === 0) return NbdError.EINVAL;
  const carries = command === Command.WRITE || command === Command.READ;
  if (carries && lengthBytes > PAYLOAD_BYTES_MAX) return NbdError.EINVAL;
  if (agreed.export.device.holds(offset, lengthBytes)) return NbdError.NONE;
  return stores ? NbdError.ENOSPC : NbdError.EINVAL;
}

/** Flags that a command may have; −1 for a command that was not offered. */
function allowedFlags(command: number, structured: boolean, allocation: boolean): number {
  switch (command) {
    case Command.READ:
      return CommandFlag.FUA | (structured ? CommandFlag.DF : 0);
    case Command.WRITE_ZEROES:
      return CommandFlag.FUA | CommandFlag.NO_HOLE | CommandFlag.FAST_ZERO;
    case Command.BLOCK_STATUS:
      return allocation ? CommandFlag.FUA | CommandFlag.REQ_ONE : -1;
    case Command.WRITE:
    case Command.FLUSH:
    case Command.TRIM:
    case Command.CACHE:
    case Command.DISC:
      return CommandFlag.FUA;
    default:
      return -1;
  }
}
