// Commands on chosen pages, beside a model after the kernel's documentation of the files
// `recompress`, `writeback` and `idle` (Documentation/admin-guide/blockdev/zram.rst): a page keeps
// its idle mark until it is used; a type chooses pages; the largest pages come first; `max_pages`
// counts pages that were tried; a page that does not become smaller is not tried again.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { TmemKey } from "../../src/tmem/key.ts";
import { KnobFixture, PAGE } from "../doubles/knob_fixture.ts";
import { fillPage, type PageKind } from "../doubles/store_fixture.ts";

/** Neighbours, and pages in other runs: with several shards, most are in shards of their own. */
const NUMBERS = [0, 1, 2, 255, 256, 700, 1300, 1301, 2500, 3900, 4094, 4095];
const PAGES = 4096;

interface ModelPage {
  readonly kind: PageKind;
  isIdle: boolean;
  /** Recompression was tried in vain. */
  isTried: boolean;
}

interface Seen {
  readonly number: number;
  readonly where: string;
  readonly codec: string;
  readonly bytes: number;
}

function see(fixture: KnobFixture, number: number, device = 0): Seen | undefined {
  const { number: object, pool } = fixture.devices[device]!.device.place;
  const key = new TmemKey().setObject(object).setIndex(number);
  const found = fixture.store.explain(pool, key);
  if (!found.stored) return undefined;
  return { number, where: found.where, codec: found.codec, bytes: found.storedBytes };
}

function seeAll(fixture: KnobFixture): Seen[] {
  return NUMBERS.flatMap((number) => see(fixture, number) ?? []);
}

class Model {
  readonly pages = new Map<number, ModelPage>();
  readonly fixture: KnobFixture;

  constructor(fixture: KnobFixture) {
    this.fixture = fixture;
  }

  write(number: number, kind: PageKind): void {
    this.fixture.write(number, kind);
    this.pages.set(number, { kind, isIdle: false, isTried: false });
  }

  read(number: number): void {
    const bytes = new Uint8Array(PAGE);
    assert.equal(this.fixture.devices[0]!.device.read(number * PAGE, bytes), 0);
    const page = this.pages.get(number);
    const expected = new Uint8Array(PAGE);
    if (page !== undefined) fillPage(expected, page.kind, number + 1);
    assert.deepEqual(bytes, expected);
    if (page !== undefined) page.isIdle = false;
  }

  discard(number: number): void {
    assert.equal(this.fixture.devices[0]!.device.discard(number * PAGE, PAGE), 0);
    this.pages.delete(number);
  }

  mark(): void {
    this.fixture.set("idle", "all");
    for (const page of this.pages.values()) page.isIdle = true;
  }

  /** Whether a type of a command chooses a page. */
  #isChosen({ number, where, codec }: Seen, type: string): boolean {
    const { isIdle, isTried } = this.pages.get(number)!;
    if (where !== "memory") return false;
    const isHuge = codec === "none";
    if (type === "incompressible") return isHuge || isTried;
    return (!type.includes("idle") || isIdle) && (!type.includes("huge") || isHuge);
  }

  async recompress(type: string, most: number): Promise<void> {
    const before = seeAll(this.fixture);
    const wanted = before
      .filter((seen) => this.#isChosen(seen, type) && seen.codec !== "zstd")
      .filter(({ number }) => !this.pages.get(number)!.isTried)
      .sort((a, b) => (b.bytes >> 6) - (a.bytes >> 6) || a.number - b.number)
      .slice(0, most);
    const words = [type && `type=${type}`, most < 99 && `max_pages=${most}`, "algo=zstd"];
    const done = await this.fixture.use("recompress", words.filter(Boolean).join(" "));
    const after = new Map(seeAll(this.fixture).map((seen) => [seen.number, seen]));
    const [smaller, sums] = [[] as Seen[], [0, 0] as [number, number]];
    for (const seen of before) {
      const now = after.get(seen.number)!;
      if (now.codec === seen.codec) assert.deepEqual(now, seen);
      else {
        assert.equal(now.codec, "zstd");
        assert.ok(now.bytes < seen.bytes && wanted.includes(seen));
        smaller.push(seen);
        sums[0] += seen.bytes;
        sums[1] += now.bytes;
      }
    }
    for (const seen of wanted) {
      if (!smaller.includes(seen) && seen.codec !== "none") {
        this.pages.get(seen.number)!.isTried = true;
      }
      // Text is what the denser codec makes smaller.
      if (this.pages.get(seen.number)!.kind === "text") assert.ok(smaller.includes(seen));
    }
    const line = `${smaller.length} of ${wanted.length} pages recompressed`;
    assert.equal(done, `${line}, ${sums[0]} to ${sums[1]} bytes`);
  }

  /** Each page has the flags that the kernel's documentation of block_state says. */
  async checkBlockState(): Promise<void> {
    const text = await this.fixture.use("block_state", `0-${PAGES - 1}`);
    const lines = seeAll(this.fixture).map(({ number, where, codec }) => {
      const { isIdle, isTried } = this.pages.get(number)!;
      const isSame = where === "same-filled";
      const flags = [
        isSame ? "s" : ".",
        where === "file" ? "w" : ".",
        !isSame && codec === "none" ? "h" : ".",
        where === "memory" && isIdle ? "i" : ".",
        codec === "zstd" ? "r" : ".",
        isTried ? "n" : ".",
      ];
      return `${String(number).padStart(12)} ${flags.join("")}`;
    });
    assert.match(text, /^( {0,11}\d{1,12} {1,12}\d+\.\d{6} [a-z.]{6}\n)*$/);
    assert.deepEqual(text.replaceAll(/ +\d+\.\d{6} /g, " ").split("\n"), [...lines, ""]);
  }

  async writeBack(type: string, from: number, to: number): Promise<void> {
    const before = seeAll(this.fixture);
    const wanted = before.filter(
      (seen) => seen.number >= from && seen.number <= to && this.#isChosen(seen, type),
    );
    const range = from === to ? `page_index=${from}` : `page_indexes=${from}-${to}`;
    const done = await this.fixture.use("writeback", `${type && `type=${type} `}${range}`);
    assert.equal(done, `${wanted.length} pages written`);
    for (const seen of before) {
      const where = wanted.includes(seen) ? "file" : seen.where;
      assert.deepEqual(see(this.fixture, seen.number), { ...seen, where });
    }
  }
}

const number = fc.constantFrom(...NUMBERS);
const type = fc.constantFrom("", "idle", "huge", "huge_idle");
const kind = fc.constantFrom("text" as const, "noise" as const, "sparse" as const, "same" as const);
const step = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant("write" as const), number, kind }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("read" as const), number }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("discard" as const), number }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("mark" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("tick" as const) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("recompress" as const),
      type,
      most: fc.constantFrom(1, 2, 99),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("writeback" as const),
      type: fc.oneof(type, fc.constant("incompressible")),
      range: fc.tuple(number, number),
    }),
  },
);

test("model: commands choose the pages that the kernel's documentation says", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40, size: "max" }), async (steps) => {
      const fixture = new KnobFixture({ pages: PAGES });
      const model = new Model(fixture);
      for (const one of steps) {
        if (one.do === "write") model.write(one.number, one.kind);
        else if (one.do === "read") model.read(one.number);
        else if (one.do === "discard") model.discard(one.number);
        else if (one.do === "mark") model.mark();
        else if (one.do === "tick") fixture.store.tick();
        else if (one.do === "recompress") await model.recompress(one.type, one.most);
        else await model.writeBack(one.type, Math.min(...one.range), Math.max(...one.range));
        fixture.store.verify();
        await model.checkBlockState();
      }
      for (const one of NUMBERS) model.read(one);
      fixture.close();
    }),
    { numRuns: 60 },
  );
});

test("threshold: smaller pages are left alone, and no page ends at or above it", async () => {
  const fixture = new KnobFixture({ pages: PAGES });
  for (const one of NUMBERS) fixture.write(one, "text");
  const before = seeAll(fixture);
  const sizes = before.map(({ bytes }) => bytes);
  const above = await fixture.use("recompress", `threshold=${Math.max(...sizes) + 1}`);
  assert.equal(above, "0 of 0 pages recompressed, 0 to 0 bytes");
  // No page becomes as small as that, but all are large enough to be tried.
  const vain = await fixture.use("recompress", "threshold=64");
  assert.equal(vain, `0 of ${NUMBERS.length} pages recompressed, 0 to 0 bytes`);
  assert.deepEqual(seeAll(fixture), before);
  const least = Math.min(...sizes);
  await fixture.use("recompress", `threshold=${least}`);
  const after = seeAll(fixture);
  assert.ok(
    after.some(({ codec }) => codec === "zstd"),
    "the pages were not given up",
  );
  for (const { codec, bytes } of after) if (codec === "zstd") assert.ok(bytes < least);
  fixture.close();
});

test("a command on one device leaves the others alone; commands do not run at once", async () => {
  const fixture = new KnobFixture({ pages: PAGES });
  for (const device of [0, 1]) for (const one of NUMBERS) fixture.write(one, "text", device);
  const first = fixture.use("recompress:more", "priority=1");
  await assert.rejects(fixture.use("writeback", "type=huge"), { code: "ERR_BUSY" });
  const done = await first;
  assert.match(done, /^12 of 12 pages/);
  assert.equal(fixture.get("recompress:more"), done);
  assert.ok(seeAll(fixture).every(({ codec }) => codec === "lz4"));
  assert.equal(
    await fixture.use("writeback:more", "page_index=0 page_indexes=255-700"),
    "4 pages written",
  );
  assert.ok(seeAll(fixture).every(({ where }) => where === "memory"));
  const inFile = NUMBERS.filter((one) => see(fixture, one, 1)?.where === "file");
  assert.deepEqual(inFile, [0, 255, 256, 700]);
  fixture.close();
});

test("write-back stops at the limit, and says so", async () => {
  const fixture = new KnobFixture({ pages: PAGES });
  for (const one of NUMBERS) fixture.write(one, "noise");
  fixture.set("writeback_limit_enable", "1");
  fixture.set("writeback_limit", "5");
  const done = await fixture.use("writeback", "type=huge");
  assert.equal(done, "5 pages written; writeback_limit is used up");
  assert.equal(fixture.get("writeback_limit"), "0");
  fixture.set("writeback_limit_enable", "0");
  assert.equal(await fixture.use("writeback", "type=huge"), "7 pages written");
  fixture.close();
});

test("block_state: the time of the last use is that of a tick of the clock", async () => {
  const fixture = new KnobFixture({ pages: PAGES });
  fixture.pass(20);
  fixture.write(1, "text");
  // A tick has 15 seconds, a quarter of the idle time.
  fixture.pass(41);
  fixture.write(2, "noise");
  const text = await fixture.use("block_state", "0-9");
  const lines = [
    "           1           16.000000 ......",
    "           2           61.000000 ..h...",
  ];
  assert.equal(text, `${lines.join("\n")}\n`);
  assert.equal(await fixture.use("block_state", "3-9"), "");
  const refused = fixture.use("block_state", "0-4096");
  await assert.rejects(
    refused,
    /"0-4096": must be A-B, from 0-0 to 0-4095, of at most 65536 pages$/,
  );
  assert.match(fixture.get("backing_dev"), /pages\d+$/);
  fixture.close();
});

test("words that a command does not have, and pages beyond the device, are refused", async () => {
  const fixture = new KnobFixture({ pages: PAGES });
  const refused = [
    ["recompress", "type=incompressible", "idle or huge or huge_idle"],
    ["recompress", "type=idle level=3", "each word must be one of type="],
    ["recompress", "threshold=4096", "must be from 1 to"],
    ["recompress", "max_pages=0", "must be from 1 to"],
    ["recompress", "algo=lz4", "must be zstd"],
    ["recompress", "priority=2", "must be 0 or 1"],
    ["writeback", "page_index=4096", "must be from 0 to 4095"],
    ["writeback", "page_indexes=9-8", "must be A-B, from 0-0 to 0-4095"],
    ["writeback", "page_indexes=4000-4096", "must be A-B"],
    ["writeback:more", "type", "each word must be one of type="],
  ] as const;
  for (const [name, text, why] of refused) {
    await assert.rejects(
      fixture.use(name, text),
      (error: Error & { code?: string }) =>
        error.code === "ERR_OPTION" && error.message.includes(why),
      `${name}=${text}`,
    );
  }
  fixture.close();
  const bare = new KnobFixture({ hasFile: false });
  await assert.rejects(bare.use("writeback", "type=huge"), /without --write-back/);
  bare.close();
});
