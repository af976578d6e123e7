// Two block devices of one store, with the idle scan and the knobs that a daemon has for them.
import assert from "node:assert/strict";
import { join } from "node:path";
import { type Knob, useKnob } from "../../src/base/knob.ts";
import { MIB } from "../../src/base/units.ts";
import type { StoreOptions } from "../../src/store/options.ts";
import { type IdleScanSettings, ZramIdleScan } from "../../src/zram/idle_scan.ts";
import { zramKnobs } from "../../src/zram/knobs.ts";
import { Zram } from "../../src/zram/zram.ts";
import { fillPage, openStore, type PageKind } from "./store_fixture.ts";
import { temporaryFolder } from "./temporary_folder.ts";

export const PAGE = 4096;
const folder = temporaryFolder("knobs");
let files = 0;

export interface KnobOptions {
  readonly settings?: Partial<IdleScanSettings>;
  readonly store?: StoreOptions;
  /** Whether there is a write-back file (default). */
  readonly hasFile?: boolean;
  /** Pages of each device (default 100). */
  readonly pages?: number;
}

export class KnobFixture {
  readonly store;
  readonly devices: readonly { readonly name: string; readonly device: Zram }[];
  readonly idleScan: ZramIdleScan;
  readonly knobs: ReadonlyMap<string, Knob>;
  #nowMs = 0;

  constructor({ settings, store: options, hasFile = true, pages = 100 }: KnobOptions = {}) {
    const path = join(folder, `pages${files++}`);
    const codecs = { codec: "lz4", recompress: { codec: "zstd" } };
    const file = hasFile ? { writeBack: { path, max: 16 * MIB } } : {};
    this.store = openStore({ ...codecs, ...file, ...options });
    this.devices = ["", "more"].map((name, number) => {
      return { name, device: Zram.create(this.store, pages * PAGE, number) };
    });
    const all: IdleScanSettings = {
      ...{ recompress: "none", recompressIdleSeconds: 60, writeBack: "none" },
      ...{ writeBackIdleSeconds: 60, writeBackLimit: 0, writeBackLimited: false },
      ...settings,
    };
    const { store, devices } = this;
    this.idleScan = new ZramIdleScan(store, all, 0);
    const parts = { store, exports: devices, idleScan: this.idleScan };
    const knobs = zramKnobs({
      ...parts,
      ...{ codec: "lz4", denseCodec: "zstd", limitMax: store.limitMax },
    });
    this.knobs = new Map(knobs.map((knob) => [knob.name, knob]));
  }

  get(name: string): string {
    return this.knobs.get(name)!.get();
  }

  set(name: string, value: string): void {
    this.knobs.get(name)!.set!(value);
  }

  /** Sets a knob or runs a command, as `zcache ctl` does. */
  use(name: string, value: string): Promise<string> {
    return useKnob(this.knobs.get(name)!, value);
  }

  write(page: number, kind: PageKind, device = 0): void {
    const bytes = fillPage(new Uint8Array(PAGE), kind, page + 1);
    assert.equal(this.devices[device]!.device.write(page * PAGE, bytes), 0);
  }

  /** Lets seconds pass, one after the other, and the scan do what it has to do in each. */
  pass(seconds: number): void {
    for (let second = 0; second < seconds; second++) {
      this.#nowMs += 1000;
      while (this.idleScan.step(this.#nowMs));
    }
  }

  close(): void {
    this.store.verify();
    this.store.close();
  }
}
