// Suites of other folders once more, with stores of three shards: `openStore` of
// doubles/store_fixture.ts reads the variable.
process.env["ZCACHE_TEST_SHARDS"] = "3";
await import("../zram/zram.test.ts");
await import("../zram/knobs.test.ts");
await import("../nbd/protocol.test.ts");
await import("../store/full_store.test.ts");
await import("../store/same_filled.test.ts");

export {};
