// The state of a connection between two reads. It is small, because ten thousand connections may
// be idle: bytes are kept only while a request is not complete, or waits for its turn.
import type { RemoteWait } from "../store/remote_arrivals.ts";
import type { CloseReason } from "./watch/records.ts";

export const UNDECIDED = 0;
export const TEXT = 1;
export const BINARY = 2;

/** A reply that is made in steps; see commands/text/long_reply.ts. */
export interface LongReply {
  /** Writes some more of it. @returns whether that was all */
  step(): boolean;
}

/** How a command answers each key of its list. */
export interface KeyList {
  readonly touches: boolean;
  readonly withCas: boolean;
}

export class Session {
  /** Decided by the first byte. */
  protocol: typeof UNDECIDED | typeof TEXT | typeof BINARY = UNDECIDED;
  authenticated = false;
  /** Nothing more is read; the connection ends when its replies are sent. */
  closing = false;
  /** So many of the next bytes belong to a value that was refused. */
  swallow = 0;
  /** The rest of a line that was refused is skipped. */
  skipLine = false;
  /** The list whose keys are being read, one after the other. */
  keyList: KeyList | undefined = undefined;
  /** For that command, if it touches: when items expire, seconds since 1970. */
  keysExpires = 0;
  /** Bytes that were received and not used: a part of a request, or all that has to wait. */
  pending: Uint8Array | undefined = undefined;
  pendingBytes = 0;
  /** How many bytes the request that `pending` begins with takes; 0: not known yet. */
  need = 0;
  /** A reply that is made in steps; later requests wait for it. */
  longReply: LongReply | undefined = undefined;
  /** The wait for items on other machines of the request that `pending` begins with. */
  remote: RemoteWait | undefined = undefined;
  /** Seconds since 1970. */
  lastCommandAt = 0;
  /** Why the connection ends, if the server ends it. */
  endsFor: CloseReason = "error";
}
