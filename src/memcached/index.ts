// A memcached server over a compressed store: the entry point `zcache/memcached`.
//
//  1. index.ts        the options of a server, and its start
//  2. server.ts       a server: its threads, knobs, refresh of certificates, its end
//  3. thread.ts       one thread: items, engine, connections, sockets; worker.ts runs further ones
//  4. listen.ts       sockets of endpoint.ts; listen_tls.ts those with TLS; auth.ts passwords
//  5. connections.ts  reads and writes; receive_buffer.ts, send_queue.ts, turns.ts
//  6. engine.ts       finds requests in what was read, and calls their commands;
//                     plain_gets.as.ts, a kernel, answers plain gets of ordinary items
//  7. protocol/       bytes ⇄ numbers: lines, headers, flags; no sockets, no items
//  8. commands/       a function for each command, in tables text/table.ts and binary/table.ts
//  9. items/          items in the store: what commands read and change
// 10. watch/          log lines for clients that watch
//
// Concurrency: each thread accepts connections on one shared descriptor and serves them by itself.
// Threads share the items, in one store, and counters and cas numbers, in shared words; a change of
// an item is one step for all threads, under the lock of its key.
//
// Limits: keys of 250 bytes, items of 128 MiB, 64 threads, lines of 2,048 bytes except lists of
// keys. `pendingBytesMax` and `unsentBytesMax` bound what a thread keeps for its clients.
/// <reference types="node" preserve="true" />
import type { Remote } from "../backing/remote_contract.ts";
import { ZcacheError } from "../base/errors.ts";
import { checkOptionNames } from "../base/option_names.ts";
import { checkListen } from "../node/net/listen_options.ts";
import type { Store } from "../store/store.ts";
import type { Endpoint } from "./endpoint.ts";
import { openItems } from "./items/open.ts";
import { MemcachedServer } from "./server.ts";
import { DEFAULT_SETTINGS, type MemcachedSettings } from "./settings.ts";
import { WORKER } from "./worker.binary.ts";

export type { Endpoint, TlsFiles } from "./endpoint.ts";
export { type Knob, MemcachedServer } from "./server.ts";
export type { MemcachedSettings } from "./settings.ts";

export interface MemcachedServerOptions extends Partial<MemcachedSettings> {
  /** Where to listen: addresses, and paths of unix sockets (default: 127.0.0.1, port 11211). */
  readonly listen?: readonly Endpoint[];
  /** Called for a client's `shutdown`, if `shutdownEnabled`; the server does not end by itself. */
  readonly onShutdown?: (graceful: boolean) => void;
  /**
   * Keeps cold items on other machines: what `createRemote` returns. The server closes it. It can't
   * be combined with `persist`.
   */
  readonly remote?: Remote;
  /** Takes errors of writing the files of `persist`; the server goes on. */
  readonly onFault?: (error: ZcacheError) => void;
  /** Takes a line for each change of the limit under memory pressure (`pressure`). */
  readonly onPressure?: (line: string) => void;
  /**
   * Takes unexpected errors with their stacks, a text of several lines for each place in the code
   * (default: writes to stderr). `stats().internal_errors` counts all of them.
   */
  readonly log?: (text: string) => void;
}

/** A server that listens, and the store of its items. */
export interface StartedMemcached {
  readonly server: MemcachedServer;
  /** For statistics; the server closes it. */
  readonly store: Pick<Store, "stats" | "inspection" | "pageSize" | "options">;
}

const NAMES = ["listen", "onShutdown", "remote", "onFault", "onPressure", "log"];
const TLS_NAMES = ["cert", "key", "ca", "minVersion"];
const DEFAULT_LISTEN: Endpoint = { host: "127.0.0.1", port: 11_211 };

/**
 * Starts a server of memcached's protocols.
 * @throws ZcacheError ERR_OPTION, with the option and what is allowed; ERR_IO: the server can't
 *   listen, or write its files; ERR_FILE_LOCKED: another process uses them; ERR_ARENA_MEMORY;
 *   ERR_REMOTE, ERR_REMOTE_OWNED: the remote tier can't be used
 */
export async function startMemcachedServer(
  options: MemcachedServerOptions = {},
): Promise<StartedMemcached> {
  checkOptionNames(options, [...NAMES, ...Object.keys(DEFAULT_SETTINGS)], "a memcached server");
  const { listen = [DEFAULT_LISTEN], onShutdown, onFault, onPressure, log, ...others } = options;
  const { remote, ...settings } = others;
  if (!Array.isArray(listen)) throw new ZcacheError("ERR_OPTION", "listen: give a list of places");
  for (const [nth, endpoint] of listen.entries()) {
    checkListen(`listen[${nth}]`, endpoint, ["tls"]);
    const { tls } = endpoint as Endpoint;
    if (tls !== undefined) checkOptionNames(tls, TLS_NAMES, `listen[${nth}].tls`);
  }
  let store: StartedMemcached["store"] | undefined;
  const server = await MemcachedServer.start({
    settings,
    endpoints: listen,
    open: (checked, events) => {
      const opened = openItems(checked, events, remote);
      store = opened.shards.group;
      return opened;
    },
    worker: WORKER,
    onShutdown: onShutdown ?? (() => {}),
    ...(onFault === undefined ? {} : { onFault }),
    ...(onPressure === undefined ? {} : { onPressure }),
    log,
  });
  return { server, store: store! };
}
