// A Unix socket's file outlives the server that made it, if that was killed.
import { existsSync, lstatSync, unlinkSync } from "node:fs";
import { connect } from "node:net";
import { ZcacheError } from "../base/errors.ts";

/** Removes the socket that a server left which is no more. @throws ZcacheError ERR_IO */
export async function removeStale(path: string): Promise<void> {
  if (!existsSync(path)) return;
  if (!lstatSync(path).isSocket()) {
    throw new ZcacheError("ERR_IO", `${path} is there and is no socket`);
  }
  const isServed = await new Promise<boolean>((resolve) => {
    const client = connect(path);
    client.once("connect", () => resolve(true));
    client.once("error", () => resolve(false));
    client.once("close", () => resolve(false));
    client.once("connect", () => client.destroy());
  });
  if (isServed) throw new ZcacheError("ERR_IO", `another server listens on ${path}`);
  unlinkSync(path);
}
