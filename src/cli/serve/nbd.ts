// Block devices as a service of the daemon: one store, the devices in it, the NBD server in front
// of them, and the work on idle pages.
import { accessSync, constants } from "node:fs";
import { dirname, resolve } from "node:path";
import type { Remote } from "../../backing/remote_contract.ts";
import { ZcacheError } from "../../base/errors.ts";
import { parseSize } from "../../base/units.ts";
import { monitorNbd } from "../../monitor/monitor.ts";
import {
  type Listen,
  type NbdServer,
  type NbdTlsOptions,
  startNbdServer,
  tlsShare,
  Zram,
} from "../../nbd/index.ts";
import { manageResidentMemory } from "../../node/give_back.ts";
import { reasonOf } from "../../node/inputs.ts";
import type { InternalErrors } from "../../node/internal_errors.ts";
import { startMaintainer } from "../../node/maintainer.ts";
import { lockArenas } from "../../node/memory_lock.ts";
import { followPressure } from "../../node/memory_pressure.ts";
import { serveRemote } from "../../node/remote_service.ts";
import { scanTask } from "../../node/scan_rounds.ts";
import { Scheduler } from "../../node/scheduler.ts";
import { openStore, renamedFile } from "../../node/stores.ts";
import type { Store } from "../../store/store.ts";
import { type PageType, ZramIdleScan } from "../../zram/idle_scan.ts";
import { DeviceImage, devicesIn } from "../../zram/image.ts";
import { zramKnobs } from "../../zram/knobs.ts";
import { complain } from "../exit.ts";
import { exposureWarning } from "./address.ts";
import { remoteOf, textOf } from "./remote.ts";
import { NEEDS_RESTART, needsCeiling, type Prepared, type Service } from "./service.ts";
import { devicesOf, type NbdValues, nbdAddresses, nbdMemoryBytes, reuseOf } from "./settings.ts";

/** Of each thread before it serves: what the engine would compile under the first client. */
const WARM_UP_MS = 500;
/** How long to wait for the lease of an earlier process: longer than a lease lasts. */
const LEASE_MS_MAX = 20_000;
const LEASE_LOOK_MS = 100;
/** At the end, records are removed for so long; the next owner of the prefix removes the others. */
const EMPTY_MS_MAX = 10_000;
const EMPTY_LOOK_MS = 20;

interface NamedDevice {
  readonly name: string;
  readonly device: Zram;
}

/** The parts of the running service. */
interface Parts {
  readonly values: NbdValues;
  readonly store: Store;
  readonly devices: readonly NamedDevice[];
  readonly scheduler: Scheduler;
  readonly idleScan: ZramIdleScan;
  readonly server: NbdServer;
  readonly image: DeviceImage | undefined;
  /** "on", "off", or why the memory is not locked although the settings say so. */
  readonly memoryLock: string;
  readonly remoteWork: RemoteWork | undefined;
}

/** The remote tier, which works until the devices are saved. */
interface RemoteWork {
  readonly remote: Remote;
  readonly scheduler: Scheduler;
}

function listenOf(values: NbdValues): Listen[] {
  const { socket, socketMode } = values;
  const tcp = nbdAddresses(values).map(({ host, port }) => ({ host, port }));
  return socket === undefined ? tcp : [...tcp, { path: socket, mode: socketMode }];
}

function tlsOf({ tls, tlsKey, tlsCert, tlsCa }: NbdValues): NbdTlsOptions | undefined {
  if (tlsKey === undefined || tlsCert === undefined) return undefined;
  const ca = tlsCa === undefined ? {} : { ca: textOf(tlsCa) };
  return { mode: tls ?? "required", key: textOf(tlsKey), cert: textOf(tlsCert), ...ca };
}

/** Checks at the start, not only when data is to be saved, whether the image can be written. */
function checkFolder(image: string): void {
  const folder = dirname(resolve(image));
  try {
    accessSync(folder, constants.W_OK);
  } catch (cause) {
    const isMissing = (cause as NodeJS.ErrnoException).code === "ENOENT";
    const why = isMissing ? `there is no folder ${folder}; create it first` : reasonOf(cause);
    throw new ZcacheError("ERR_IO", `image: can't write ${image}: ${why}`, { cause });
  }
}

function storeOf(values: NbdValues, remote: Remote | undefined): Store {
  const { shards, pageSize, codec, pool, recompress, writeBack, writeBackMax } = values;
  const { memoryMaxCeiling: limitMax, codecLevel, recompressLevel } = values;
  return openStore({
    memoryMax: nbdMemoryBytes(values),
    ...(limitMax === undefined ? {} : { limitMax }),
    shards,
    pageSize: parseSize(pageSize, "page-size"),
    ...{ codec, pool, giveBack: values.giveBack ? "auto" : "off" },
    pressure: values.pressure ? "auto" : "off",
    hugePages: values.hugePages ? "auto" : "off",
    ...(codecLevel === undefined ? {} : { codecOptions: { level: codecLevel } }),
    ...(recompress === "none"
      ? {}
      : {
          recompress: {
            codec: recompress,
            ...(recompressLevel === undefined ? {} : { codecOptions: { level: recompressLevel } }),
          },
        }),
    ...(writeBack === undefined
      ? {}
      : { writeBack: { path: writeBack, max: writeBackMax, existing: reuseOf(values.existing) } }),
    ...(remote === undefined ? {} : { remote }),
  });
}

/** Makes the devices, first those of the image: records in a cluster name them by their number. */
function devicesFor(store: Store, values: NbdValues): NamedDevice[] {
  const { image, existing } = values;
  const wanted = devicesOf(values);
  const first = image === undefined || existing === "discard" ? [] : devicesIn(image);
  const known = first.flatMap((name) => wanted.find((one) => one.name === name) ?? []);
  const ordered = [...known, ...wanted.filter((one) => !known.includes(one))];
  const made = new Map(
    ordered.map((one, number) => [one, Zram.create(store, one.sizeBytes, number)] as const),
  );
  return wanted.map((one) => ({ name: one.name, device: made.get(one)! }));
}

function imageOf(values: NbdValues, devices: readonly NamedDevice[]) {
  const { image, existing, codec, recompress, pool } = values;
  if (image === undefined) return undefined;
  const hasRemote = values.remote.flat().length > 0;
  const remote = { prefix: values.remotePrefix, codec, recompress, pool };
  const opened = new DeviceImage(image, devices, existing, hasRemote ? remote : undefined);
  if (opened.path !== image) {
    complain(
      `warning: ${image} is not an image of zcache and stays as it is; using ${opened.path}`,
    );
  }
  return opened;
}

/** @returns as `Parts.memoryLock` */
function lockMemory({ lockMemory: isWanted }: NbdValues, store: Store): string {
  if (!isWanted) return "off";
  const refusal = lockArenas(store.shards);
  if (refusal !== undefined) complain(`warning: lock-memory: memory is not locked: ${refusal}`);
  return refusal ?? "on";
}

/** @returns a line for the user */
async function loadFrom(image: DeviceImage): Promise<string> {
  const { pages, loss } = await image.loadAsync();
  if (loss !== undefined) complain(`warning: ${loss}`);
  return `loaded ${pages} pages from ${image.path}\n`;
}

function idleScanOf(values: NbdValues, store: Store, nowMs: number): ZramIdleScan {
  const { recompress, recompressIdle, writeBack, writeBackType, writeBackIdle } = values;
  return new ZramIdleScan(
    store,
    {
      recompress: (recompress === "none" ? "none" : "idle") satisfies PageType,
      recompressIdleSeconds: recompressIdle,
      writeBack: writeBack === undefined ? "none" : writeBackType,
      writeBackIdleSeconds: writeBackIdle,
      writeBackLimit: 0,
      writeBackLimited: false,
    },
    nowMs,
  );
}

/**
 * Starts serving block devices.
 * @param errors receives unexpected errors of background work
 * @throws ZcacheError ERR_OPTION, ERR_CODEC_… or ERR_POOL_…: a setting is invalid; ERR_IO,
 *   ERR_INPUT, ERR_CORRUPT: a file, an image or an address can't be used; ERR_ARENA_MEMORY,
 *   ERR_ARENA_FULL
 */
export async function startNbd(values: NbdValues, errors: InternalErrors): Promise<Service> {
  const hosts = nbdAddresses(values).map(({ host }) => host);
  const isGuarded = values.tlsCa !== undefined || values.allow.length > 0;
  const warning = exposureWarning("nbd", hosts, "tls-ca or allow");
  if (warning !== undefined && !isGuarded) complain(warning);
  const tls = tlsOf(values);
  const remote = remoteOf(values);
  const store = storeOf(values, remote);
  try {
    const remoteWork = await beginRemote(store, remote, errors);
    const memoryLock = lockMemory(values, store);
    const renamed = renamedFile(store);
    if (renamed !== undefined) complain(`warning: ${renamed.message}`);
    const devices = devicesFor(store, values);
    if (values.image !== undefined) checkFolder(values.image);
    const image = imageOf(values, devices);
    let loaded = "";
    if (values.writeBack !== undefined) {
      startMaintainer(store, (error) => errors.report("nbd: the thread that makes room", error));
    }
    const { readOnly, description, allow, maxConnections, threads } = values;
    const serverOptions = {
      exports: devices.map((one) => ({ ...one, readOnly, description })),
      listen: listenOf(values),
      allow,
      connectionsMax: maxConnections,
      ...(threads === undefined ? {} : { threads }),
      ...(tls === undefined ? {} : { tls }),
      practiceMs: WARM_UP_MS,
    };
    // Pages may take all memory that the threads' buffers leave.
    const server = await startNbdServer(store, serverOptions, async () => {
      if (image?.exists === true) loaded = await loadFrom(image);
      store.remote?.sweep();
    });
    const line = `${loaded}nbd on ${server.addresses.join(" ")}`;
    const scheduler = Scheduler.of(store, (_, error) =>
      errors.report("nbd: background work", error),
    );
    const idleScan = idleScanOf(values, store, scheduler.nowMs);
    const returnMemory = manageResidentMemory(store.shards, scheduler);
    followPressure(store, store, scheduler, { returnMemory, log: complain });
    scheduler.add(scanTask((nowMs) => idleScan.step(nowMs)));
    const parts = { values, store, devices, scheduler, idleScan, server, image, memoryLock };
    return serviceOf({ ...parts, remoteWork }, line, errors);
  } catch (error) {
    store.close();
    throw error;
  }
}

/** Takes the lease of the remote tier. @throws ZcacheError ERR_REMOTE, ERR_REMOTE_OWNED */
async function beginRemote(
  store: Store,
  remote: Remote | undefined,
  errors: InternalErrors,
): Promise<RemoteWork | undefined> {
  if (remote === undefined) return undefined;
  const report = (_: string, error: unknown) => errors.report("nbd: the remote tier", error);
  const scheduler = new Scheduler(() => store.isClosed, report);
  const control = serveRemote(store, remote, scheduler);
  try {
    await control.ready;
  } catch (error) {
    if (!(await hasLeaseLater(remote, error))) {
      scheduler.stop();
      throw error;
    }
  }
  return { remote, scheduler };
}

/** After a kill, the lease of the process before ends by itself: waits for that. */
async function hasLeaseLater(remote: Remote, error: unknown): Promise<boolean> {
  if (!(error instanceof ZcacheError) || error.code !== "ERR_REMOTE_OWNED") return false;
  complain(`warning: ${error.message}; waiting for the end of its lease`);
  for (let waited = 0; waited < LEASE_MS_MAX && remote.epoch === 0; waited += LEASE_LOOK_MS) {
    await new Promise((resolve) => setTimeout(resolve, LEASE_LOOK_MS));
  }
  return remote.epoch !== 0;
}

/**
 * Ends the remote tier, and gives the lease back.
 * @param leaves the records that stay: "all" that a file names, or may name; those that the image
 *   names which has just been saved; or "none"
 */
async function endRemote(
  store: Store,
  { remote, scheduler }: RemoteWork,
  leaves: "all" | "saved" | "none",
): Promise<void> {
  const tier = store.remote!;
  let isOver = false;
  const limit = new Promise<void>((resolve) => {
    setTimeout(resolve, EMPTY_MS_MAX).unref();
  }).then(() => {
    isOver = true;
  });
  const removing = async () => {
    if (leaves === "none") await tier.empty();
    if (leaves !== "saved") return;
    await tier.releaseKept();
    while (!isOver && store.stats().remote!.removals_waiting > 0) {
      await new Promise((resolve) => setTimeout(resolve, EMPTY_LOOK_MS));
    }
  };
  await Promise.race([removing(), limit]);
  scheduler.stop();
  await remote.close();
}

function serviceOf(parts: Parts, line: string, errors: InternalErrors): Service {
  const { values, store, devices, scheduler, idleScan, server, image, memoryLock } = parts;
  const { remoteWork } = parts;
  const { codec, recompress: denseCodec } = values;
  const limitMax = limitMaxOf(parts);
  const knobs = zramKnobs({ store, exports: devices, idleScan, codec, denseCodec, limitMax });
  const requests = () => devices.map(({ name, device }) => ({ name, ...device.requests() }));
  const monitor = monitorNbd(
    store,
    server,
    devices.map(({ device }) => device),
  );
  return {
    ...{ name: "nbd", line, monitor, knobs },
    stats: () => ({
      server: server.stats(),
      tending: idleScan.done,
      memory_lock: memoryLock,
      exports: requests(),
      ...(remoteWork === undefined ? {} : { cluster: store.remote!.figures() }),
      ...store.stats(),
    }),
    prepare: (name, value) => prepare(parts, name, value),
    refresh: () => refresh(parts),
    close: async (saves) => {
      scheduler.stop();
      // The devices are saved even if one of these fails.
      for (const part of [monitor, server]) {
        await part.close().catch((error: unknown) => errors.report("nbd: closing", error));
      }
      let leaves: Parameters<typeof endRemote>[2] = image === undefined ? "none" : "all";
      try {
        if (image === undefined || values.readOnly || !saves) return "";
        store.remote?.holdPages();
        const pages = await image.saveAsync();
        leaves = "saved";
        return `saved ${pages} pages to ${image.path}`;
      } finally {
        if (remoteWork !== undefined) {
          await endRemote(store, remoteWork, leaves).catch((error: unknown) =>
            errors.report("nbd: closing the remote tier", error),
          );
        }
        store.close();
      }
    },
  };
}

/** Reads certificates again, for new connections. */
function refresh({ values, server }: Parts): { what: string; commit(): void }[] {
  const tls = tlsOf(values);
  if (tls === undefined) return [];
  const share = tlsShare(tls);
  return [{ what: "certificates have been read again", commit: () => server.renewTls(share) }];
}

/** The most that the memory limit can be changed to, in bytes. */
function limitMaxOf({ store, values }: Pick<Parts, "store" | "values">): number {
  return Math.min(store.limitMax, values.memoryMaxCeiling ?? Number.POSITIVE_INFINITY);
}

/** Changes that need no restart: the memory limit, and which pages count as idle. */
function prepare(parts: Parts, name: string, value: unknown): Prepared {
  const { values, store, idleScan } = parts;
  const { settings } = idleScan;
  switch (name) {
    case "memoryMax": {
      const wanted = (value as number | undefined) ?? store.options.memoryMax;
      const most = limitMaxOf(parts);
      if (wanted > most) return needsCeiling(most);
      return { commit: () => store.limit(wanted) };
    }
    case "recompressIdle":
      return {
        commit: () => {
          settings.recompressIdleSeconds = value as number;
        },
      };
    case "writeBackIdle":
      return {
        commit: () => {
          settings.writeBackIdleSeconds = value as number;
        },
      };
    case "writeBackType":
      return {
        commit: () => {
          if (values.writeBack !== undefined) settings.writeBack = value as PageType;
          idleScan.restart();
        },
      };
    default:
      return NEEDS_RESTART;
  }
}
