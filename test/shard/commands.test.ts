// Commands on chosen pages once more, with stores of three shards. Apart from suites.test.ts,
// because the temporary folder of these tests goes with the last test of a file.
process.env["ZCACHE_TEST_SHARDS"] = "3";
await import("../zram/commands.test.ts");

export {};
