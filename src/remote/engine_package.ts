// The client of the engine: the package `ioredis`, which an application installs if it uses other
// machines. Only its connections are used, of which this file declares what is called. Routing,
// redirections and retries are router.ts (docs/decisions/0021-remote-client.md).
import type { Duplex } from "node:stream";
import { ZcacheError } from "../base/errors.ts";
import { requireOptional } from "../node/optional_packages.ts";

/** A word of a command. */
export type Argument = string | number | Buffer;

/** What a server answers; an error of its own is a value of type Error. */
export type Reply = Buffer | string | number | null | Error | readonly Reply[];

interface EngineCommand {
  readonly promise: Promise<unknown>;
}

/** One connection of the package. */
export interface EngineClient {
  readonly stream: Duplex | undefined;
  connect(): Promise<void>;
  disconnect(): void;
  sendCommand(command: EngineCommand): unknown;
  on(event: string, listener: (...args: readonly never[]) => void): unknown;
}

export interface EnginePackage {
  readonly Redis: new (options: Readonly<Record<string, unknown>>) => EngineClient;
  readonly Command: new (
    name: string,
    args: readonly Argument[],
    options: { readonly replyEncoding: null },
  ) => EngineCommand;
}

type Load = (name: string) => unknown;

/**
 * Loads the package.
 * @param load for tests
 * @throws ZcacheError ERR_REMOTE that says what to install
 */
export function loadEnginePackage(load: Load = requireOptional): EnginePackage {
  let loaded: Partial<EnginePackage>;
  try {
    loaded = load("ioredis") as Partial<EnginePackage>;
  } catch (cause) {
    const remedy = "install it: npm install ioredis";
    throw new ZcacheError("ERR_REMOTE", `the remote tier needs the package ioredis: ${remedy}`, {
      cause,
    });
  }
  const { Redis, Command } = loaded;
  if (typeof Redis === "function" && typeof Command === "function") return { Redis, Command };
  const remedy = "install a version from 5.3 on: npm install ioredis";
  throw new ZcacheError("ERR_REMOTE", `this version of ioredis is not supported: ${remedy}`);
}
