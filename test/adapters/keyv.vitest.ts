// Keyv's own suite for storage adapters, which needs vitest as its runner (see keyv.test.ts).
import keyvTestSuite, { keyvApiTests, keyvIteratorTests, keyvValueTests } from "@keyv/test-suite";
import Keyv from "keyv";
import * as vitest from "vitest";
import { KeyvZcache } from "../../src/adapters/keyv.ts";
import { Cache } from "../../src/index.ts";
import { sharedOptions } from "./shared_options.ts";

/** The suite has a later vitest of its own, of which it uses what this one has too. */
const test = vitest as unknown as Parameters<typeof keyvTestSuite>[0];
const cache = Cache.create<string, unknown>({ memoryMax: "8MiB", ...sharedOptions("suite-keyv") });
const store = () => new KeyvZcache({ cache });

keyvTestSuite(test, Keyv, store);
keyvIteratorTests(test, Keyv, store);

// Keyv tells an adapter one namespace, so what asks for several does not take one adapter for all.
vitest.describe("one adapter", () => {
  const one = new KeyvZcache({ cache, prefix: "one|" });
  keyvApiTests(test, Keyv, () => one);
  keyvValueTests(test, Keyv, () => one);
  keyvIteratorTests(test, Keyv, () => one);
});
