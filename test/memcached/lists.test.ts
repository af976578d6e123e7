// Lists of items and of statistics, for programs that read them: memcached's names, classes, and
// keys that can't look like another line.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { Session } from "../../src/memcached/session.ts";
import { CFD, SHARDS, TextFixture } from "./fixture.ts";

/** A set of the binary protocol, whose keys may hold any byte. */
function binarySet(key: Uint8Array, value: string): Buffer {
  const header = Buffer.alloc(32);
  header[0] = 0x80;
  header[1] = 1;
  header.writeUInt16BE(key.length, 2);
  header[4] = 8;
  header.writeUInt32BE(8 + key.length + value.length, 8);
  return Buffer.concat([header, key, Buffer.from(value)]);
}

/** Statistics that monitoring programs read, by kind of `stats`; all are numbers. */
const READ: Readonly<Record<string, string>> = {
  "": `uptime time cmd_get cmd_set cmd_flush cmd_touch get_hits get_misses get_expired delete_hits
    delete_misses incr_hits incr_misses decr_hits decr_misses cas_hits cas_misses cas_badval
    touch_hits touch_misses rusage_user rusage_system bytes limit_maxbytes curr_items
    total_items bytes_read bytes_written curr_connections total_connections rejected_connections
    conn_yields evictions listen_disabled_num reclaimed store_too_large store_no_memory
    lru_crawler_starts direct_reclaims crawler_items_checked crawler_reclaimed moves_to_cold
    moves_to_warm moves_within_lru accepting_conns response_obj_bytes response_obj_oom
    internal_errors`,
  settings: `maxbytes maxconns lru_crawler_sleep lru_crawler_tocrawl hot_lru_pct warm_lru_pct
    hot_max_factor warm_max_factor item_size_max idle_timeout tls_handshake_timeout`,
  items: `number age hits_to_hot hits_to_warm hits_to_cold hits_to_temp evicted evicted_nonzero
    outofmemory tailrepairs reclaimed mem_requested`,
  slabs: `get_hits delete_hits incr_hits decr_hits cas_hits touch_hits cas_badval cmd_set chunk_size
    chunks_per_page total_pages total_chunks used_chunks free_chunks free_chunks_end`,
};

for (const shards of SHARDS)
  describe(`statistics, ${shards} shard(s)`, () => {
    for (const [kind, names] of Object.entries(READ)) {
      test(`stats ${kind} has the names that monitors read, each once`, () => {
        const fixture = new TextFixture({ shards });
        fixture.ask("set a 0 0 1\r\nx\r\nget a\r\n");
        const lines = fixture.ask(`stats ${kind}\r\n`).split("\r\n");
        const all = new Map(
          lines.flatMap((line) => {
            const match = /^STAT (?:items:1:|1:)?(\S+) (.*)$/.exec(line);
            return match === null ? [] : [[match[1]!, match[2]!] as const];
          }),
        );
        for (const name of names.split(/\s+/))
          assert.match(all.get(name) ?? "", /^-?[\d.]+$/, name);
        assert.equal(lines.filter((line) => line.startsWith("STAT ")).length, all.size);
      });
    }
  });

for (const shards of SHARDS)
  describe(`classes, ${shards} shard(s)`, () => {
    test("all items are in class 1", () => {
      const fixture = new TextFixture({ shards });
      for (let i = 0; i < 30; i++) fixture.ask(`set f${i} 0 0 1\r\nx\r\n`);
      for (let id = 0; id < 64; id++) {
        const items = fixture.ask(`stats cachedump ${id} 0\r\n`).match(/^ITEM /gm)?.length ?? 0;
        assert.equal(items, id === 1 ? 30 : 0, `class ${id}`);
      }
      for (const id of [64, 65, 200, 4_294_967_295]) {
        assert.equal(
          fixture.ask(`stats cachedump ${id} 0\r\n`),
          "CLIENT_ERROR Illegal slab id\r\n",
        );
      }
      assert.equal(fixture.ask("stats cachedump 1 5\r\n").match(/^ITEM /gm)!.length, 5);
      assert.equal(
        fixture.ask("stats cachedump x 5\r\n"),
        "CLIENT_ERROR bad command line format\r\n",
      );
      assert.equal(
        fixture.ask("lru_crawler metadump 1\r\n").match(/^key=f\d+ exp=-1 /gm)!.length,
        30,
      );
      assert.equal(fixture.ask("lru_crawler metadump 5,1,2\r\n").match(/^key=/gm)!.length, 30);
      assert.equal(fixture.ask("lru_crawler metadump 2\r\n"), "END\r\n");
      for (const bad of ["0", "64", "x", "1,,2", "1,900"]) {
        assert.equal(
          fixture.ask(`lru_crawler metadump ${bad}\r\n`),
          "BADCLASS invalid class id\r\n",
        );
      }
    });
  });

for (const shards of SHARDS)
  describe(`keys of any bytes, ${shards} shard(s)`, () => {
    const hostile = fc.constantFrom(
      "\r\nEND\r\n",
      "a\r\nVALUE x 0 1\r\ny\r\nEND\r\n",
      "x exp=-1 la=0 cas=1 fetch=no cls=1 size=1\nkey=y",
      "p\r\nPREFIX forged get 1 hit 1 set 1 del 1\r\n:rest",
      "k [1 b; 0 s]\r\nITEM forged",
      "\0",
      " ",
      "%41",
      "\x7f",
      "\xff\xfe",
    );
    const any = fc.uint8Array({ minLength: 1, maxLength: 250 }).map((bytes) => Buffer.from(bytes));
    const keys = fc.uniqueArray(
      fc.oneof(
        hostile.map((text) => Buffer.from(text, "latin1")),
        any,
      ),
      { minLength: 1, maxLength: 8, selector: (key) => key.toString("latin1") },
    );

    test("give one well-formed line each, in every list", () => {
      fc.assert(
        fc.property(keys, (some) => {
          const fixture = new TextFixture({ shards });
          fixture.ask("stats detail on\r\n");
          const binary = new Session();
          const watcher = new Session();
          fixture.send(watcher, "watch fetchers mutations\r\n");
          for (const key of some) fixture.send(binary, binarySet(key, "v"));
          const lines = (text: string, line: RegExp, end: string) => {
            const whole = fixture.ask(text);
            assert.ok(whole.endsWith(end), whole);
            const parts = whole.slice(0, -end.length).split("\n").slice(0, -1);
            for (const part of parts) assert.match(part, line);
            return parts;
          };
          const shown = lines(
            "lru_crawler metadump all\r\n",
            /^key=[\w\-.~%]+ exp=-1 la=\d+ cas=\d+ fetch=no cls=1 size=\d+$/,
            "END\r\n",
          );
          const named = shown.map((line) => decode(/^key=(\S+)/.exec(line)![1]!));
          assert.deepEqual(named.sort(), some.map((key) => key.toString("latin1")).sort());
          const items = lines(
            "stats cachedump 1 0\r\n",
            /^ITEM [!-~\u0080-\u00ff]+ \[1 b; 0 s\]\r$/,
            "END\r\n",
          );
          assert.equal(items.length, some.length);
          const commands = lines(
            "lru_crawler mgdump all\r\n",
            /^mg [!-~\u0080-\u00ff]+( b)?\r$/,
            "EN\r\n",
          );
          // Each key in the lists can be used in a get.
          for (const command of commands) {
            assert.equal(
              fixture.ask(`${command.replace("\r", " v")}\r\n`),
              "VA 1\r\nv\r\n",
              command,
            );
          }
          lines(
            "stats detail dump\r\n",
            /^PREFIX [!-~\u0080-\u00ff]* get \d+ hit \d+ set \d+ del \d+\r$/,
            "END\r\n",
          );
          for (const key of some) {
            const debug = fixture.ask(`me ${key.toString("base64")} b\r\n`);
            assert.match(debug, /^ME [!-~\u0080-\u00ff]+ exp=-1 .*size=\d+\r\n$/);
          }
          for (const line of fixture.watched.split("\n").slice(0, -1)) {
            assert.match(
              line,
              new RegExp(`^ts=[\\d.]+ gid=\\d+ type=item_\\w+ key=[\\w\\-.~%]+ .*cfd=${CFD} `),
            );
          }
        }),
        { numRuns: 150 },
      );
    });

    function decode(text: string): string {
      return text.replace(/%(..)/g, (_, hex: string) =>
        String.fromCharCode(Number.parseInt(hex, 16)),
      );
    }
  });
