// memcached on Node: the protocol's server over a store of values. The entry point
// `zcache/memcached`.
/// <reference types="node" preserve="true" />
import { ZcacheError } from "../base/errors.ts";
import { checkOptionNames } from "../base/option_names.ts";
import { checkListen } from "../node/net/listen_options.ts";
import type { Store } from "../store/store.ts";
import type { Endpoint } from "./endpoint.ts";
import { openItemStore } from "./item_stores.ts";
import { MemcachedServer } from "./server.ts";
import { DEFAULT_SETTINGS, type MemcachedSettings } from "./settings.ts";
import { WORKER } from "./worker.binary.ts";

export type { Endpoint, TlsFiles } from "./endpoint.ts";
export { type Knob, MemcachedServer } from "./server.ts";
export type { MemcachedSettings } from "./settings.ts";

export interface MemcachedServerOptions extends Partial<MemcachedSettings> {
  /** Where to listen: addresses and paths of sockets (default: 127.0.0.1, port 11211). */
  readonly listen?: readonly Endpoint[];
  /** A client has asked for the end, which `shutdownEnabled` allows; nothing is done about it. */
  readonly onShutdown?: (graceful: boolean) => void;
  /** What `persist` is to keep could not be written; the server goes on. */
  readonly onFault?: (error: ZcacheError) => void;
  /**
   * Takes unexpected errors with their stacks, one text of several lines for each place in the code
   * (default: writes them to stderr). `stats().internal_errors` counts all of them.
   */
  readonly log?: (text: string) => void;
}

/** A server that listens, and the store that its items are in. */
export interface StartedMemcached {
  readonly server: MemcachedServer;
  /** To be looked at; the server closes it. */
  readonly store: Store;
}

const NAMES = ["listen", "onShutdown", "onFault", "log"];
const TLS_NAMES = ["cert", "key", "ca", "minVersion"];
const DEFAULT_LISTEN: Endpoint = { host: "127.0.0.1", port: 11_211 };

/**
 * Serves memcached's protocols.
 * @throws ZcacheError ERR_OPTION naming the option and what is allowed; ERR_IO: it can't listen,
 *   or write its files; ERR_FILE_LOCKED: another process uses them; ERR_ARENA_MEMORY
 */
export async function startMemcachedServer(
  options: MemcachedServerOptions = {},
): Promise<StartedMemcached> {
  checkOptionNames(options, [...NAMES, ...Object.keys(DEFAULT_SETTINGS)], "a memcached server");
  const { listen = [DEFAULT_LISTEN], onShutdown, onFault, log, ...settings } = options;
  if (!Array.isArray(listen)) throw new ZcacheError("ERR_OPTION", "listen: give a list of places");
  for (const [nth, endpoint] of listen.entries()) {
    checkListen(`listen[${nth}]`, endpoint, ["tls"]);
    const { tls } = endpoint as Endpoint;
    if (tls !== undefined) checkOptionNames(tls, TLS_NAMES, `listen[${nth}].tls`);
  }
  let store: Store | undefined;
  const server = await MemcachedServer.start({
    settings,
    endpoints: listen,
    open: (checked, fault, onError) => {
      const opened = openItemStore(checked, fault, onError);
      store = opened.valueStore;
      return opened;
    },
    worker: WORKER,
    onShutdown: onShutdown ?? (() => {}),
    ...(onFault === undefined ? {} : { onFault }),
    log,
  });
  return { server, store: store! };
}
