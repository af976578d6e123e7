// Makes the files of test/fixtures: small files of each format in the version that a build writes,
// which test/fixtures/fixtures.test.ts reads for ever after.
//
//   node scripts/make_fixtures.mjs [CHECKOUT]
//
// CHECKOUT is a built checkout, of an older version maybe (default: this one). What is there is
// never written over: a fixture shows what a version has written, so it does not change. After a
// version has been raised (docs/formats.md), run this once and commit what it adds.
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const checkout = resolve(process.argv[2] ?? root);
const load = (file) => import(pathToFileURL(join(checkout, "dist/src", file)).href);
const { Cache } = await load("index.js");
const { DeviceImage } = await load("zram/image.js");
const { createStore } = await load("node/stores.js");
const { Zram } = await load("nbd/index.js");
const { encodeRecord } = await load("remote/record.js");

/** What test/fixtures/fixtures.test.ts expects. */
function fill(cache, start) {
  cache.set("text", "plain text, again and again ".repeat(20));
  cache.set("ümläut", "漢字 🎉");
  cache.set(
    "bytes",
    Uint8Array.from({ length: 300 }, (_, i) => (i * i) & 255),
  );
  cache.set("object", { list: [1, 2n, null], nested: { date: new Date(0) } });
  cache.set("long", "a long value has parts; ".repeat(4000));
  cache.set("for ever", "x", 100 * 365 * 24 * 3600 * 1000);
  cache.set("deleted", start);
  cache.delete("deleted");
  cache.set(`start ${start}`, start);
}

/** Copies files to a folder of test/fixtures, unless there is one. */
function keep(folder, name) {
  const target = join(root, "test/fixtures", name);
  if (existsSync(target)) console.log(`${name} is there already, and stays as it is`);
  else {
    cpSync(folder, target, { recursive: true, filter: (path) => !path.endsWith(".lock") });
    console.log(`${name}: ${readdirSync(target).join(", ")}`);
  }
}

/** Copies one file to test/fixtures, unless it is there. */
function keepFile(file, name) {
  const target = join(root, "test/fixtures", name);
  if (existsSync(target)) console.log(`${name} is there already, and stays as it is`);
  else {
    cpSync(file, target);
    console.log(name);
  }
}

const folder = mkdtempSync(join(tmpdir(), "zcache-fixtures-"));
const path = join(folder, "c");
for (const [what, starts] of [
  ["logs", 2],
  ["snapshot", 7],
]) {
  for (let start = 0; start < starts; start++) {
    const cache = Cache.create({ memoryMax: "8MiB", dictionary: false, persist: { path } });
    fill(cache, start);
    cache.close();
  }
  const [first] = readdirSync(folder);
  const version = readFileSync(join(folder, first)).toString("latin1", 15, 16);
  keep(folder, `restart-${version}-${what}`);
  for (const name of readdirSync(folder)) rmSync(join(folder, name));
}

const store = createStore({ memoryMax: "8MiB" });
const devices = ["first", "second"].map((name, number) => {
  const device = Zram.create(store, 1 << 20, number);
  for (let page = number; page < 200; page += 7) {
    device.write(page * 4096, Buffer.alloc(4096, `page ${page} of ${name}, `));
  }
  return { name, device };
});
const image = join(folder, "image");
new DeviceImage(image, devices).save();
keep(folder, `image-${readFileSync(image).toString("latin1", 7, 8)}`);
store.close();

const record = encodeRecord(
  { epoch: 7, key: Buffer.from("zc:r:7:{p0.1.0}:3.2") },
  {
    ...{ prefixBytes: 5, codec: "none", dictionary: 3, plainBytes: 18 },
    data: Buffer.from("head:plain bytes of one"),
  },
);
const recordFile = join(folder, "record");
writeFileSync(recordFile, record);
keepFile(recordFile, `remote-record-${record[3]}`);
rmSync(folder, { recursive: true });
