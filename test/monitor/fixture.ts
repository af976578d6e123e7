// A memcached server, an NBD server and a web server over both, with some data in each.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { type OpenedItems, openItems } from "../../src/memcached/items/open.ts";
import { MemcachedServer } from "../../src/memcached/server.ts";
import type { MemcachedSettings } from "../../src/memcached/settings.ts";
import { type Monitor, monitorMemcached, monitorNbd } from "../../src/monitor/monitor.ts";
import { type WebOptions, WebServer } from "../../src/monitor/web/server.ts";
import { type NbdServer, startNbdServer, Zram } from "../../src/nbd/index.ts";
import { createStore } from "../../src/node/stores.ts";
import type { ShardGroup } from "../../src/shard/shard_group.ts";
import type { StoreOptions } from "../../src/store/options.ts";
import type { Store } from "../../src/store/store.ts";
import { fillPage, type PageKind } from "../doubles/store_fixture.ts";
import { Client, portOf, WORKER_URL } from "../memcached/server_fixture.ts";

const MIB = 1024 * 1024;
const KINDS: readonly PageKind[] = ["text", "sparse", "noise", "text", "same", "sparse"];

/** What a test that failed has left open: without it, the file would not end. */
const open = new Set<() => Promise<void>>();
after(async () => {
  for (const close of open) await close();
});

/** Registers resources that are closed once, at the latest at the end of the file. */
function closing(close: () => Promise<void>): () => Promise<void> {
  const once = async () => {
    if (open.delete(once)) await close();
  };
  open.add(once);
  return once;
}

export interface NbdFixture {
  readonly store: Store;
  readonly device: Zram;
  readonly server: NbdServer;
  readonly monitor: Monitor;
  close(): Promise<void>;
}

/** An NBD server on a Unix socket, over one device. */
export async function startNbd(options: StoreOptions = {}, sizeMib = 8): Promise<NbdFixture> {
  const folder = mkdtempSync(join(tmpdir(), "zcache-web-"));
  const store = createStore({ memoryMax: "16MiB", ...options });
  const device = Zram.create(store, sizeMib * MIB);
  const server = await startNbdServer(store, {
    exports: [{ device }],
    listen: [{ path: join(folder, "nbd.sock") }],
    threads: 1,
    connectionsMax: 4,
  });
  return {
    ...{ store, device, server },
    monitor: monitorNbd(store, server, [device]),
    close: closing(async () => {
      await server.close();
      store.close();
      rmSync(folder, { recursive: true, force: true });
    }),
  };
}

/** Writes pages of all kinds from the beginning of a device. */
export function fillDevice({ device }: NbdFixture, pages: number, seed = 1): void {
  const page = new Uint8Array(device.pageSize);
  for (let nth = 0; nth < pages; nth++) {
    fillPage(page, KINDS[nth % KINDS.length]!, seed + nth);
    device.write(nth * device.pageSize, page);
  }
}

export interface MemcachedFixture {
  readonly store: ShardGroup;
  readonly server: MemcachedServer;
  readonly client: Client;
  readonly monitor: Monitor;
  close(): Promise<void>;
}

/** A memcached server in this thread, and a client of it. */
export async function startMemcached(
  settings: Partial<MemcachedSettings> = {},
): Promise<MemcachedFixture> {
  let opened: OpenedItems | undefined;
  const server = await MemcachedServer.start({
    settings: { memoryMax: 8 * MIB, ...settings },
    endpoints: [{ host: "127.0.0.1", port: 0 }],
    open: (checked) => {
      opened = openItems(checked);
      return opened;
    },
    worker: WORKER_URL,
    onShutdown: () => {},
  });
  const store = opened!.shards.group;
  const client = await Client.open({ port: portOf(server), host: "127.0.0.1" });
  return {
    ...{ store, server, client },
    monitor: monitorMemcached(store, server),
    close: closing(async () => {
      client.socket.destroy();
      await server.close(false);
      store.close();
    }),
  };
}

/** A document that compresses as documents do; equal arguments give equal ones. */
export function documentOf(nth: number): string {
  const tags = ["red", "green", "blue", "large", "small", "new", "used"];
  const some = tags.filter((_, i) => (nth * 2654435761 + i * 97) % 5 < 2);
  return JSON.stringify({
    id: nth,
    name: `product number ${nth}`,
    price: (nth * 7919) % 10_000,
    tags: some,
    description: `${tags[nth % 7]} thing of ${"very ".repeat(nth % 40)}good make`,
    stock: Array.from({ length: 4 + (nth % 13) }, (_, i) => ({
      at: `hall ${i}`,
      n: (nth * i) % 97,
    })),
  });
}

/** Sets documents from..to, and waits until the last is stored. */
export async function setDocuments({ client }: MemcachedFixture, from: number, to: number) {
  for (let nth = from; nth < to; nth++) {
    const text = documentOf(nth);
    client.send(`set doc:${nth} 0 0 ${text.length} noreply\r\n${text}\r\n`);
  }
  await client.ask("mn\r\n", "MN\r\n");
}

export async function startWeb(
  monitors: readonly Monitor[],
  options: Partial<WebOptions> = {},
): Promise<WebServer> {
  const server = await WebServer.start({ port: 0, monitors, version: "test", ...options });
  // Closing twice does no harm.
  open.add(() => server.close());
  return server;
}
