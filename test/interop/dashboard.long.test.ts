// The web page in a real browser: at the width of a phone and of a desk, light and dark, by keys
// and by touch. Nothing sticks out, everything has drawn something, nothing is loaded from
// elsewhere, and the console says nothing.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, test } from "node:test";
import { type Browser, launch, type Page } from "puppeteer-core";
import type { WebServer } from "../../src/monitor/web/server.ts";
import {
  fillDevice,
  type MemcachedFixture,
  type NbdFixture,
  setDocuments,
  startMemcached,
  startNbd,
  startWeb,
} from "../monitor/fixture.ts";

const TOKEN = "only-for-this-test-run";
const WAIT_MS = 120_000;

/** The browser's path, or undefined if there is none. */
function findBrowser(): string | undefined {
  for (const name of ["chromium", "chromium-browser", "google-chrome"]) {
    try {
      return execFileSync("which", [name], { encoding: "utf8" }).trim();
    } catch {}
  }
  return undefined;
}

const path = findBrowser();
const skip = path === undefined && process.env["CI"] !== "true" && "chromium is not installed";
let browser: Browser;
let nbd: NbdFixture;
let memcached: MemcachedFixture;
let web: WebServer;
let limit = "1000";

before(async () => {
  if (skip !== false) return;
  browser = await launch({
    executablePath: path ?? "chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
  });
  nbd = await startNbd();
  fillDevice(nbd, 1200);
  memcached = await startMemcached();
  await setDocuments(memcached, 0, 2000);
  const knob = {
    ...{ name: "limit", describe: "how much", get: () => limit },
    set: (text: string) => {
      limit = text;
    },
  };
  web = await startWeb([nbd.monitor, memcached.monitor], { token: TOKEN, knobs: [knob] });
});

after(async () => {
  await browser?.close();
  await web?.close();
  await memcached?.close();
  await nbd?.close();
});

interface Look {
  readonly width: number;
  readonly scheme: "light" | "dark";
  readonly url?: string;
}

/** Opens the page, and waits until it has drawn the map. Collects console messages and errors. */
async function open({ width, scheme, url = web.url }: Look) {
  const page = await browser.newPage();
  const complaints: string[] = [];
  const requests = new Set<string>();
  page.on("console", (message) => complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => requests.add(new URL(request.url()).origin));
  const isPhone = width < 500;
  await page.setViewport({ width, height: 900, isMobile: isPhone, hasTouch: isPhone });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  await page.goto(url, { timeout: WAIT_MS });
  await page.waitForSelector("#status.live", { timeout: WAIT_MS });
  await has(page, `(document.querySelector("#map")?.style.height ?? "") !== ""`);
  return { page, complaints, requests };
}

/** Waits until an expression holds in the page. */
async function has(page: Page, expression: string): Promise<void> {
  await page.waitForFunction(expression, { timeout: WAIT_MS });
}

/** Waits until the page says something. */
async function says(page: Page, what: RegExp): Promise<void> {
  await has(page, `${what}.test(document.querySelector("main").textContent)`);
}

/** What is shown of the service whose tab is chosen. */
const SHOWN = '[role="tabpanel"]:not([hidden])';

/** What an element says. Expressions are texts, because this side knows no `document`. */
async function textOf(page: Page, selector: string): Promise<string> {
  const element = `document.querySelector(${JSON.stringify(selector)})`;
  return String(await page.evaluate(`${element}.textContent`));
}

async function matches(page: Page, selector: string, what: string): Promise<boolean> {
  const element = `document.querySelector(${JSON.stringify(selector)})`;
  return (await page.evaluate(`${element}.matches(${JSON.stringify(what)})`)) === true;
}

/** Measures a service's panel: overflow, blank canvases, controls too small for a finger. */
const MEASURE = `(() => {
  const { scrollWidth, clientWidth } = document.documentElement;
  const panel = document.querySelector(${JSON.stringify(SHOWN)});
  const canvases = [...panel.querySelectorAll("canvas")];
  const blank = canvases.filter((canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return !data.some((byte) => byte !== 0);
  });
  const small = [...panel.querySelectorAll("button, select")].filter(
    (element) => element.getBoundingClientRect().height < 40,
  );
  return {
    sticksOut: scrollWidth - clientWidth,
    ground: getComputedStyle(document.body).backgroundColor,
    small: small.length,
    canvases: canvases.length,
    blank: blank.length,
  };
})()`;

for (const width of [390, 1280]) {
  for (const scheme of ["light", "dark"] as const) {
    test(`the page, ${scheme}, at a width of ${width} pixels`, { skip }, async () => {
      const { page, complaints, requests } = await open({ width, scheme });
      // Two samples, so that lines have a beginning and an end.
      await says(page, /\d\/s/);
      const measured = await page.evaluate(MEASURE);
      const ground = scheme === "light" ? "rgb(255, 255, 255)" : "rgb(13, 17, 23)";
      assert.deepEqual(measured, { sticksOut: 0, ground, small: 0, canvases: 6, blank: 0 });
      assert.deepEqual([...requests], [new URL(web.url).origin], "nothing comes from elsewhere");
      assert.deepEqual(complaints, []);
      await page.close();
    });
  }
}

test("the figures are the daemon's", { skip }, async () => {
  const { page, complaints } = await open({ width: 1280, scheme: "light" });
  const text = await textOf(page, SHOWN);
  const stats = nbd.store.stats();
  const ratio = (stats.orig_data_size / stats.mem_used_total).toFixed(2);
  assert.ok(text.includes(`${ratio}×`), `the ratio is ${ratio}`);
  assert.ok(text.includes("codec lz4; pool dense"));
  const frames = stats.persistent.pool.pages.toLocaleString("en-US");
  await says(page, new RegExp(`${frames} frames hold objects`));
  assert.deepEqual(complaints, []);
  await page.close();
});

test("the keyboard selects services, moves on the map and zooms", { skip }, async () => {
  const { page, complaints } = await open({ width: 1280, scheme: "light" });
  await page.focus('[role="tab"][aria-selected="true"]');
  await page.keyboard.press("ArrowRight");
  const selected = '[role="tab"][aria-selected="true"]';
  assert.equal(await textOf(page, selected), "memcached");
  assert.equal(await matches(page, selected, ":focus"), true);
  assert.match(page.url(), /#memcached$/);
  await page.keyboard.press("ArrowRight");
  assert.equal(await textOf(page, selected), "nbd");
  const map = `${SHOWN} #map`;
  await page.focus(map);
  await page.keyboard.press("Home");
  const readout = `${SHOWN} .readout`;
  assert.match(await textOf(page, readout), /^Frame 0, at 0 B: arena header\.$/);
  await page.keyboard.press("ArrowRight");
  assert.match(await textOf(page, readout), /^Frame 1, /);
  await page.keyboard.press("ArrowDown");
  assert.match(await textOf(page, readout), /^Frame \d\d+, /);
  await page.keyboard.press("End");
  const last = (nbd.store.inspection.framesTotal - 1).toLocaleString("en-US");
  // Tables that are allocated at the creation may take the incomplete block at the end.
  assert.match(await textOf(page, readout), new RegExp(`^Frame ${last}, .*: (free|other)\\.$`));
  // A cell that is one frame can't be zoomed into.
  assert.equal(await matches(page, `${SHOWN} .controls button`, ":disabled"), true);
  assert.deepEqual(complaints, []);
  await page.close();
});

test("on a phone, a tap describes a cell, and buttons zoom", { skip }, async () => {
  const { page, complaints } = await open({ width: 390, scheme: "dark" });
  const caption = `${SHOWN} section:has(#map) .key`;
  assert.match(await textOf(page, caption), /a cell is 4 frames: it shows their most frequent use/);
  await page.tap(`${SHOWN} #map`);
  assert.match(await textOf(page, `${SHOWN} .readout`), /^Frames [\d,]+ to [\d,]+, at /);
  const [zoomIn, zoomOut] = await page.$$(`${SHOWN} section:has(#map) .controls button`);
  await zoomIn!.tap();
  await says(page, /frames [\d,]+ to [\d,]+ of/);
  assert.match(await textOf(page, caption), /^Page frames [\d,]+ to [\d,]+ of 4,096,.* one frame/);
  await zoomOut!.tap();
  await says(page, /All 4,096 page frames/);
  assert.deepEqual(complaints, []);
  await page.close();
});

test("a what-if comparison shows its result", { skip }, async () => {
  const { page, complaints } = await open({ width: 1280, scheme: "light" });
  await has(page, `document.querySelectorAll("form option").length > 4`);
  const [codec, pool] = await page.$$(`${SHOWN} form select`);
  await codec!.select("zstd");
  await pool!.select("zsmalloc");
  await page.click(`${SHOWN} form button`);
  await page.waitForSelector(`${SHOWN} .verdict`, { timeout: WAIT_MS });
  const verdict = await textOf(page, `${SHOWN} .verdict`);
  assert.match(
    verdict,
    /^zstd in zsmalloc: [\d.]+ % less memory for this sample; .* to decompress\.$/,
  );
  const text = await textOf(page, SHOWN);
  assert.match(text, /Sample: 1,200 of 1,200 pages in memory, 200 of them same-filled/);
  assert.match(text, /lz4 in dense \(now\)/);
  assert.deepEqual(complaints, []);
  await page.close();
});

test("a study of hit rates shows its progress and its result", { skip }, async () => {
  const { page, complaints } = await open({ width: 390, scheme: "dark" });
  const study = `${SHOWN} .hit-rates`;
  // Requests come in while the study runs, from this test.
  const bytes = new Uint8Array(nbd.device.pageSize);
  const traffic = setInterval(() => {
    for (let nth = 0; nth < 200; nth++) {
      nbd.device.read(((nth * 7) % 1200) * nbd.device.pageSize, bytes);
    }
  }, 10);
  await page.select(`${study} select`, "10");
  await page.click(`${study} button`);
  await says(page, /Watching: \d+ of 10 seconds/);
  await page.waitForSelector(`${study} .verdict`, { timeout: WAIT_MS });
  clearInterval(traffic);
  const text = await textOf(page, study);
  assert.match(text, /100\.0 % of the requests were answered from memory/);
  assert.match(text, /s3-fifo \(now\)/);
  assert.match(text, /\(0\.25×\).*\(0\.5×\).*\(now\).*\(2×\).*\(4×\)/s);
  assert.match(text, /Sample: [\d,]+ requests for [\d,]+ keys \(all keys\)/);
  assert.doesNotMatch(text, /NaN|undefined|Infinity/);
  const { sticksOut } = (await page.evaluate(MEASURE)) as { sticksOut: number };
  assert.equal(sticksOut, 0);
  assert.deepEqual(complaints, []);
  await page.close();
});

test("settings can be changed with the token only", { skip }, async () => {
  const { page } = await open({ width: 390, scheme: "light" });
  await page.type("#token", "something-else-here");
  await page.click("#knobs form button");
  await says(page, /the token is wrong/);
  await page.evaluate(`document.querySelector("#token").value = ""`);
  await page.type("#token", TOKEN);
  await page.click("#knobs form button");
  await page.waitForSelector("#knobs div form input", { timeout: WAIT_MS });
  await page.evaluate(`document.querySelector("#knobs div form input").value = "2000"`);
  await page.click("#knobs div form button");
  await says(page, /limit is now 2000/);
  assert.equal(limit, "2000");
  await page.close();
});

test("an empty store, and a server that stops and starts again", { skip }, async () => {
  const empty = await startMemcached();
  let server = await startWeb([empty.monitor]);
  const { url } = server;
  const { page, complaints } = await open({ width: 1280, scheme: "light", url });
  const text = await textOf(page, SHOWN);
  assert.match(text, /No frame holds objects yet/);
  assert.match(text, /The pool is empty/);
  assert.doesNotMatch(text, /NaN|undefined|Infinity/);
  assert.equal(await page.$("#knobs"), null, "without a token there are no settings");
  await page.click(`${SHOWN} form button`);
  await says(page, /Nothing to compare/);
  assert.deepEqual(complaints, []);
  await server.close();
  await page.waitForSelector("#gone:not([hidden])", { timeout: WAIT_MS });
  const gone = /^The server does not answer\. The figures are from .*; retrying every 3 s/;
  assert.match(await textOf(page, "#gone"), gone);
  server = await startWeb([empty.monitor], { port: Number(new URL(url).port) });
  await page.waitForSelector("#status.live", { timeout: WAIT_MS });
  assert.equal(await matches(page, "#gone", "[hidden]"), true);
  await page.close();
  await server.close();
  await empty.close();
});
