// memcached as a service of the daemon: settings to options of the server, changes while it runs.
import { ZcacheError } from "../../base/errors.ts";
import type { Knob } from "../../base/knob.ts";
import { formatBytes } from "../../base/units.ts";
import type { Endpoint, TlsFiles } from "../../memcached/endpoint.ts";
import { startMemcachedServer } from "../../memcached/index.ts";
import type { MemcachedServer, Knob as ServerKnob } from "../../memcached/server.ts";
import type { MemcachedSettings } from "../../memcached/settings.ts";
import { monitorMemcached } from "../../monitor/monitor.ts";
import type { MonitoredStore } from "../../monitor/monitored_store.ts";
import { complain } from "../exit.ts";
import { exposureWarning } from "./address.ts";
import { asRaw } from "./config_text.ts";
import { remoteOf } from "./remote.ts";
import { NEEDS_RESTART, needsCeiling, type Prepared, type Service } from "./service.ts";
import { keyOf } from "./setting.ts";
import { MEMCACHED, type MemcachedValues, memcachedAddresses, reuseOf } from "./settings.ts";

/** How long a graceful end waits for clients to read their replies. */
const CLOSE_WAIT_MS = 500;
const CLOSE_POLL_MS = 10;

/** The server's names of the settings that can be changed while it runs. */
const SERVER_NAMES: Readonly<Record<string, keyof MemcachedSettings>> = {
  memoryMax: "memoryMax",
  maxItemSize: "itemBytesMax",
  maxConns: "connectionsMax",
  idleTimeout: "idleTimeoutS",
  tlsHandshakeTimeout: "tlsHandshakeS",
  replyBuffers: "unsentBytesMax",
  flush: "flushEnabled",
  dump: "dumpEnabled",
  watch: "watchEnabled",
  allowShutdown: "shutdownEnabled",
};

function tlsOf(values: MemcachedValues): TlsFiles | undefined {
  const { tlsCert, tlsKey, tlsCa, tlsMinVersion } = values;
  if (tlsCert === undefined || tlsKey === undefined) return undefined;
  const minVersion = tlsMinVersion === "1.3" ? "TLSv1.3" : "TLSv1.2";
  return { cert: tlsCert, key: tlsKey, ca: tlsCa, minVersion };
}

function endpointsOf(values: MemcachedValues): Endpoint[] {
  const tls = tlsOf(values);
  const tcp = memcachedAddresses(values).map(({ host, port, prefix }) => ({
    ...{ host, port },
    // As in memcached, an address with a prefix speaks no TLS.
    ...(prefix !== "" || tls === undefined ? {} : { tls }),
  }));
  return [...tcp, ...values.socket.map((path) => ({ path, mode: values.socketMode }))];
}

function settingsOf(values: MemcachedValues): Partial<MemcachedSettings> {
  const { memoryMax, shards, codec, tiers, dictionary, threads } = values;
  const { protocol, prefixDelimiter, authFile, debugTime } = values;
  return {
    ...{ memoryMax, shards, codec, tiers, dictionary, threads },
    ...{ protocol, prefixDelimiter, authFile, debugTime },
    limitMax: values.memoryMaxCeiling,
    giveBack: values.giveBack ? "auto" : "off",
    pressure: values.pressure ? "auto" : "off",
    hugePages: values.hugePages ? "auto" : "off",
    ...filesOf(values),
    itemBytesMax: values.maxItemSize,
    connectionsMax: values.maxConns,
    idleTimeoutS: values.idleTimeout,
    tlsHandshakeS: values.tlsHandshakeTimeout,
    unsentBytesMax: values.replyBuffers,
    listenBacklog: values.backlog,
    shutdownEnabled: values.allowShutdown,
    flushEnabled: values.flush,
    dumpEnabled: values.dump,
    watchEnabled: values.watch,
    watchBytesMax: values.watchBuffer,
    evicts: values.evict,
    casEnabled: values.cas,
    sweeps: values.sweep,
  };
}

/** The write-back file and the persist files. */
function filesOf(values: MemcachedValues) {
  const { writeBack, writeBackMax, persist, persistMax, existing } = values;
  const reuse = reuseOf(existing);
  return {
    writeBack:
      writeBack === undefined ? undefined : { path: writeBack, max: writeBackMax, existing: reuse },
    persist: persist === undefined ? undefined : { path: persist, max: persistMax, existing },
  };
}

/**
 * Starts serving memcached.
 * @param onEnd called when a client that may do so asks the daemon to end
 * @throws ZcacheError ERR_OPTION, ERR_INPUT or ERR_IO: a setting, a file or an address is invalid;
 *   ERR_REMOTE, ERR_REMOTE_OWNED: the cluster can't be used
 */
export async function startMemcached(
  values: MemcachedValues,
  onEnd: (gracefully: boolean) => void,
): Promise<Service> {
  const hosts = memcachedAddresses(values).map(({ host }) => host);
  const warning = exposureWarning("memcached", hosts, "auth-file or tls-ca");
  const isGuarded = values.authFile !== undefined || values.tlsCa !== undefined;
  if (warning !== undefined && !isGuarded) complain(warning);
  const remote = remoteOf(values);
  const { server, store } = await startMemcachedServer({
    ...settingsOf(values),
    listen: endpointsOf(values),
    onShutdown: onEnd,
    ...(remote === undefined ? {} : { remote }),
    onFault: (error) => complain(`warning: ${error.message}`),
    onPressure: complain,
  });
  return serviceOf(values, server, store);
}

function serviceOf(
  values: MemcachedValues,
  server: MemcachedServer,
  store: MonitoredStore,
): Service {
  const monitor = monitorMemcached(store, server);
  const { memoryMax, threads } = values;
  const where = server.addresses.join(", ");
  const shards = Number(server.stats()["shards"]);
  const parts = shards === 1 ? "" : `${shards} shards, `;
  const line = `memcached on ${where}; ${formatBytes(memoryMax)} in ${parts}${threads} thread(s)`;
  return {
    ...{ name: "memcached", line, monitor },
    knobs: knobsOf(values, server),
    stats: () => {
      const { cluster } = server;
      return { ...server.stats(), ...(cluster === undefined ? {} : { cluster }) };
    },
    prepare: (name, value) => prepare(server, name, value),
    refresh: () => refresh(values, server),
    close: async () => {
      await monitor.close();
      await server.close(true);
      const until = performance.now() + CLOSE_WAIT_MS;
      while (performance.now() < until && server.connections > 0) {
        await new Promise((done) => setTimeout(done, CLOSE_POLL_MS));
      }
      return "";
    },
  };
}

/** Reads certificates and passwords again, for new connections. */
function refresh(values: MemcachedValues, server: MemcachedServer) {
  const { tlsCert, authFile } = values;
  const what = [
    ...(tlsCert === undefined ? [] : ["certificates"]),
    ...(authFile === undefined ? [] : ["passwords"]),
  ].join(" and ");
  if (what === "") return [];
  return [{ what: `${what} have been read again`, commit: server.prepareRefresh() }];
}

/** The server's knob for a setting, if it has one. */
function knobFor(server: MemcachedServer, name: string): ServerKnob | undefined {
  const wanted = SERVER_NAMES[name];
  return server.knobs().find((knob) => knob.name === `memcached.${wanted}`);
}

function prepare(server: MemcachedServer, name: string, value: unknown): Prepared {
  const knob = knobFor(server, name);
  if (knob === undefined) return NEEDS_RESTART;
  if (name === "memoryMax" && (value as number) > server.memoryLimitMax) {
    return needsCeiling(server.memoryLimitMax);
  }
  return { commit: () => knob.set(value as number | boolean) };
}

/** A knob for each setting by its key, writable if the setting can be changed, and further ones. */
function knobsOf(values: MemcachedValues, server: MemcachedServer): Knob[] {
  const settings = Object.entries(MEMCACHED).filter(([name]) => name !== "enabled");
  const known = settings.map(([name, setting]): Knob => {
    const key = keyOf(name);
    const { describe } = setting;
    const live = knobFor(server, name);
    if (live === undefined) {
      const value = asRaw(values[name as keyof MemcachedValues] ?? "");
      return { name: key, describe, get: () => String(value) };
    }
    return {
      name: key,
      describe,
      get: () => String(live.get()),
      set: (text) => {
        const raw = setting.shape === "switch" ? truthOf(text) : text;
        const prepared = prepare(server, name, setting.read(raw, key));
        if ("commit" in prepared) prepared.commit();
        else throw new ZcacheError("ERR_OPTION", `${key}: ${prepared.restart}`);
      },
    };
  });
  // Knobs of the server that are no settings of the daemon.
  const named = new Set(Object.values(SERVER_NAMES).map((name) => `memcached.${name}`));
  const others = server.knobs().filter((knob) => !named.has(knob.name));
  return [...known, ...others.map(serverKnob)];
}

function serverKnob(knob: ServerKnob): Knob {
  const name = keyOf(knob.name.replace(/^memcached\./, ""));
  const { describe } = knob;
  return {
    ...{ name, describe },
    get: () => String(knob.get()),
    set: (text) => {
      const isSwitch = typeof knob.get() === "boolean";
      const value = isSwitch ? truthOf(text) : Number(text);
      if (typeof value === "boolean" || (Number.isFinite(value) && text.trim() !== "")) {
        return knob.set(value as number | boolean);
      }
      const allowed = isSwitch ? "true or false" : "a number";
      throw new ZcacheError("ERR_OPTION", `${name}: "${text}" is not allowed; write ${allowed}`);
    },
  };
}

function truthOf(text: string): boolean | string {
  return text === "true" || text === "1" ? true : text === "false" || text === "0" ? false : text;
}
