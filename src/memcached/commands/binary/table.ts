// The commands of the binary protocol by operation. To add one, write a function of a request in a
// file of this folder, give its opcode a name in ../../protocol/binary.ts, and enter it here with
// the form that its requests have.
import * as Op from "../../protocol/binary.ts";
import * as Admin from "./admin.ts";
import { deleteKey } from "./delete.ts";
import { get } from "./get.ts";
import { decrement, increment } from "./incr.ts";
import type { BinaryRequest } from "./request.ts";
import { saslAuth, saslList } from "./sasl.ts";
import { add, append, prepend, replace, set } from "./set.ts";

export interface BinaryCommand {
  /** Executes the command and replies; REPLY_BYTES_MAX bytes are free for the reply. */
  readonly execute: (request: BinaryRequest) => void;
  /** Allowed without authentication. */
  readonly isPublic: boolean;
  /** Bytes of extras; they may be left out if `extrasOptional`. */
  readonly extrasBytes: number;
  readonly extrasOptional: boolean;
  readonly key: typeof REQUIRED | typeof OPTIONAL | typeof NONE;
  readonly hasValue: boolean;
}

export const REQUIRED = 0;
export const OPTIONAL = 1;
export const NONE = 2;

type Execute = BinaryCommand["execute"];

/** A command on one item, without a value. */
function keyed(execute: Execute, extrasBytes: number): BinaryCommand {
  return { ...plain(execute), extrasBytes, key: REQUIRED };
}

/** A command that stores a value. */
function storing(execute: Execute, extrasBytes: number): BinaryCommand {
  return { ...keyed(execute, extrasBytes), hasValue: true };
}

/** A command that is nothing but its header. */
function plain(execute: Execute): BinaryCommand {
  return {
    execute,
    isPublic: false,
    extrasBytes: 0,
    extrasOptional: false,
    key: NONE,
    hasValue: false,
  };
}

const SASL: BinaryCommand = { ...storing(saslAuth, 0), isPublic: true };

const BY_OPERATION: Readonly<Record<number, BinaryCommand>> = {
  [Op.GET]: keyed(get, 0),
  [Op.GETK]: keyed(get, 0),
  [Op.TOUCH]: keyed(get, 4),
  [Op.GAT]: keyed(get, 4),
  [Op.GATK]: keyed(get, 4),
  [Op.SET]: storing(set, 8),
  [Op.ADD]: storing(add, 8),
  [Op.REPLACE]: storing(replace, 8),
  [Op.APPEND]: storing(append, 0),
  [Op.PREPEND]: storing(prepend, 0),
  [Op.DELETE]: keyed(deleteKey, 0),
  [Op.INCREMENT]: keyed(increment, 20),
  [Op.DECREMENT]: keyed(decrement, 20),
  [Op.FLUSH]: { ...plain(Admin.flush), extrasBytes: 4, extrasOptional: true },
  [Op.VERBOSITY]: { ...plain(Admin.noop), extrasBytes: 4 },
  [Op.STAT]: { ...plain(Admin.stat), key: OPTIONAL },
  [Op.QUIT]: plain(Admin.quit),
  [Op.NOOP]: plain(Admin.noop),
  [Op.VERSION]: { ...plain(Admin.version), isPublic: true },
  [Op.SASL_LIST]: { ...plain(saslList), isPublic: true },
  [Op.SASL_AUTH]: SASL,
  [Op.SASL_STEP]: SASL,
};

/** By operation, which is a byte; undefined where there is no such command. */
export const COMMANDS: readonly (BinaryCommand | undefined)[] = Array.from(
  { length: 256 },
  (_, operation) => BY_OPERATION[operation],
);
