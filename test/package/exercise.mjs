// What the tests of the package run as an application, as it is and bundled: a worker of every
// kind, zstd and a dictionary, in one process. Prints one line of JSON.
//
// With PACKAGE_FOLDER, it removes that folder once everything is loaded.
import { rmSync } from "node:fs";
import { connect } from "node:net";
import { Cache, createStore, nodeCodecs, startMaintainer } from "zcache";
import { startMemcachedServer } from "zcache/memcached";
import { startNbdServer, Zram } from "zcache/nbd";

if (process.env.PACKAGE_FOLDER !== undefined)
  rmSync(process.env.PACKAGE_FOLDER, { recursive: true });

/** Sends bytes to HOST:PORT. @returns what has come back once it ends with `end` */
function ask(address, request, end) {
  const [host, port] = address.split(":");
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), host);
    let reply = "";
    socket.setEncoding("latin1");
    socket.on("error", reject);
    socket.on("close", () => reject(new Error(`the connection has ended after ${reply}`)));
    socket.on("data", (data) => {
      reply += data;
      if (!reply.endsWith(end)) return;
      socket.removeAllListeners("close");
      socket.destroy();
      resolve(reply);
    });
    socket.write(request);
  });
}

function trainedCache() {
  const cache = Cache.create({ memoryMax: "32MiB", codec: "zstd" });
  for (let n = 0; n < 3000; n++) {
    cache.set(`key ${n}`, {
      n,
      name: `user ${n}`,
      text: "lorem ipsum dolor sit amet",
      tags: ["a", n],
    });
  }
  return cache;
}

// Workers in the background do not keep the process alive, and are waited for here.
setInterval(() => {}, 1000);

async function exercise() {
  const cache = trainedCache();
  const { used } = await cache.train();
  for (let n = 3000; n < 3100; n++) cache.set(`key ${n}`, { n, name: `user ${n}` });
  const value = cache.get("key 3050");
  cache.close();

  const store = createStore({ memoryMax: "32MiB" });
  const maintainer = startMaintainer(store);
  await new Promise((resolve, reject) => maintainer.once("online", resolve).once("error", reject));
  const device = Zram.create(store, 1 << 20);
  const listen = [{ host: "127.0.0.1", port: 0 }];
  const nbd = await startNbdServer(store, { exports: [{ device }], listen, threads: 1 });
  const greeting = await ask(nbd.addresses[0], "", "IHAVEOPT\0\x03");
  await nbd.close();
  store.close();

  const { server } = await startMemcachedServer({ listen, threads: 2, memoryMax: 16 << 20 });
  const set = "set key 0 0 5\r\nvalue\r\n";
  const replies = [await ask(server.addresses[0], set, "STORED\r\n")];
  for (let n = 0; n < 8; n++)
    replies.push(await ask(server.addresses[0], "get key\r\n", "END\r\n"));
  await server.close();

  return {
    dictionary: used,
    name: value.name,
    zstd: nodeCodecs().find("zstd").implementation,
    nbd: greeting.slice(0, 8),
    memcached: [...new Set(replies)],
  };
}

exercise().then(
  (result) => {
    console.log(JSON.stringify(result));
    process.exit(0);
  },
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
