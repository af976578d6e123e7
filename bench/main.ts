// `npm run bench [-- NAME …] [--tiny]`: runs all benchmarks, or those that are named, and prints
// their tables. Each folder benches the folder of the same name in src/.
import { nodeCodecs } from "../src/node/codecs.ts";
import { noServers } from "../test/doubles/engine_servers.ts";
import { benchCache } from "./cache/cache.ts";
import { contenderNames } from "./cache/contenders.ts";
import { benchLarge } from "./cache/large.ts";
import { benchCodecs } from "./codec/codecs.ts";
import { benchDictionaries } from "./codec/dictionaries.ts";
import { benchDifferential } from "./memcached/differential.ts";
import { benchFuzz } from "./memcached/fuzz.ts";
import { benchMemcached } from "./memcached/memcached.ts";
import { benchShards } from "./memcached/shards.ts";
import { benchSoak } from "./memcached/soak.ts";
import { benchNbdGiveBack, CLIENTS } from "./nbd/give_back.ts";
import { benchNbd } from "./nbd/nbd.ts";
import { benchSwap } from "./nbd/swap.ts";
import { benchPolicies } from "./policy/policies.ts";
import { benchDensity } from "./pool/density.ts";
import { benchPools } from "./pool/pools.ts";
import { has } from "./programs.ts";
import { benchRemoteDocuments } from "./remote/documents.ts";
import { benchRemoteFleet } from "./remote/fleet.ts";
import { benchRemote } from "./remote/remote.ts";
import { benchFirstTouch } from "./store/first_touch.ts";
import { benchGarbage } from "./store/garbage.ts";
import { benchGiveBack } from "./store/give_back.ts";
import { benchReclaim } from "./store/reclaim.ts";
import { benchShardCosts } from "./store/shards.ts";
import { benchStore } from "./store/store.ts";
import { benchWriteBack } from "./store/write_back.ts";
import { benchThreads } from "./threads/threads.ts";
import { benchZram } from "./zram/zram.ts";

interface Arguments {
  readonly tiny: boolean;
  /** Options of `cache`: the contenders, and the file for the result. */
  readonly only: readonly string[] | undefined;
  readonly json: string | undefined;
  /** Options of `large`: the limit of the cache, and where files are written. */
  readonly memoryMax: string | undefined;
  readonly folder: string | undefined;
  readonly hugePages: boolean;
}

const BENCHES: Readonly<Record<string, (options: Arguments) => Promise<unknown>>> = {
  codecs: async ({ tiny }) => benchCodecs({ registry: await nodeCodecs(), tiny }),
  dictionaries: async ({ tiny }) => benchDictionaries({ tiny }),
  pools: async ({ tiny }) => benchPools({ tiny }),
  density: async ({ tiny }) => benchDensity({ registry: await nodeCodecs(), tiny }),
  policies: async ({ tiny }) => benchPolicies({ tiny }),
  store: async ({ tiny }) => benchStore({ tiny }),
  reclaim: async ({ tiny }) => benchReclaim({ tiny }),
  "give-back": async ({ tiny }) => {
    await benchGiveBack({ tiny });
    if (CLIENTS.every(has)) await benchNbdGiveBack(tiny);
    else console.log(`NBD: skipped, needs ${CLIENTS.join(" and ")}`);
  },
  "first-touch": async ({ tiny }) => benchFirstTouch({ tiny }),
  "write-back": async ({ tiny }) => benchWriteBack({ tiny }),
  garbage: async ({ tiny }) => benchGarbage({ tiny }),
  shards: async ({ tiny }) => benchShardCosts({ tiny }),
  memcached: async ({ tiny }) => benchMemcached({ tiny }),
  cache: async ({ tiny, only, json }) =>
    benchCache({ tiny, ...(only && { only }), ...(json !== undefined && { json }) }),
  large: async ({ tiny, memoryMax, folder, hugePages }) =>
    benchLarge({
      ...{ tiny, hugePages },
      ...(memoryMax !== undefined && { memoryMax }),
      ...(folder !== undefined && { folder }),
    }),
  threads: async ({ tiny }) => benchThreads({ tiny }),
  "remote-documents": async ({ tiny }) =>
    skippedWithoutServers("remote-documents", () => benchRemoteDocuments({ tiny })),
  "remote-fleet": async ({ tiny }) =>
    skippedWithoutServers("remote-fleet", () => benchRemoteFleet({ tiny })),
  remote: async ({ tiny }) => skippedWithoutServers("remote", () => benchRemote({ tiny })),
  nbd: async ({ tiny }) => benchNbd({ tiny }),
  swap: async ({ tiny }) => benchSwap({ tiny }),
  "memcached-shards": async ({ tiny }) => benchShards({ tiny }),
  "memcached-soak": async ({ tiny }) => benchSoak({ tiny }),
  "memcached-fuzz": async ({ tiny }) => benchFuzz({ tiny }),
  "memcached-differential": async ({ tiny }) => benchDifferential({ tiny }),
  zram: async ({ tiny }) => benchZram({ tiny }),
};

async function skippedWithoutServers(name: string, work: () => Promise<unknown>): Promise<void> {
  if (noServers === false) await work();
  else console.log(`${name}: skipped, ${noServers}`);
}

const NAMES = Object.keys(BENCHES);
const LIST = new Intl.ListFormat("en-GB").format(NAMES);
const USAGE = `usage: npm run bench [-- NAME …] [--tiny]

  ${NAMES.join(", ")}   what to run (default: all)
  --tiny   a second of each, to see that it works
  --only NAME,NAME   of cache: ${contenderNames().join(", ")}
  --json FILE        of cache: writes the result there too
  --memory-max SIZE  of large: the limit of the large cache (default 16GiB, 4MiB with --tiny)
  --folder PATH      of large: for the files of the restart (default: temporary files)
  --huge-pages       of large: both caches ask for huge pages
  --help   this text`;

function usageError(message: string): number {
  console.error(`bench: ${message}\n${USAGE}`);
  return 2;
}

/** Removes an option and its value from the arguments; an option without a value stays. */
function takeOption(args: string[], name: string): string | undefined {
  const at = args.indexOf(name);
  if (at === -1 || at + 1 === args.length) return undefined;
  return args.splice(at, 2)[1];
}

async function main(args: readonly string[]): Promise<number> {
  if (args.includes("--help")) {
    console.log(USAGE);
    return 0;
  }
  const rest = args.filter((arg) => arg !== "--tiny" && arg !== "--huge-pages");
  const tiny = args.includes("--tiny");
  const hugePages = args.includes("--huge-pages");
  const only = takeOption(rest, "--only")?.split(",");
  const json = takeOption(rest, "--json");
  const memoryMax = takeOption(rest, "--memory-max");
  const folder = takeOption(rest, "--folder");
  const stranger = only?.find((name) => !contenderNames().includes(name));
  if (stranger !== undefined) {
    return usageError(`--only: no cache is called "${stranger}"`);
  }
  const wrong = rest.find((arg) => !NAMES.includes(arg));
  if (wrong?.startsWith("-")) return usageError(`there is no option ${wrong}`);
  if (wrong !== undefined) {
    return usageError(`no benchmark is called "${wrong}"; there are ${LIST}`);
  }
  for (const name of rest.length > 0 ? new Set(rest) : NAMES) {
    await BENCHES[name]!({ tiny, only, json, memoryMax, folder, hugePages });
  }
  return 0;
}

process.exitCode = await main(process.argv.slice(2));
