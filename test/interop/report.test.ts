// The HTML report in a real browser: at the width of a phone and of a desk, nothing sticks out to
// the right, every chart has drawn something, and nothing is loaded from elsewhere.
import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const CLI = fileURLToPath(new URL("../../src/cli/main.js", import.meta.url));
const DATA = fileURLToPath(new URL("../../../docs", import.meta.url));
/** Chromium in a container, with no network of its own and nothing kept. */
const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--virtual-time-budget=8000",
  "--window-size=1400,1000",
];

/**
 * Shows the report in a frame of a given width, measures it from outside, and leaves the result in
 * the page. A frame, because a headless window is never narrower than 500 pixels.
 */
const MEASURE = `<!doctype html><body><pre id="result"></pre><script>
const width = Number(new URLSearchParams(location.search).get("width"));
const frame = document.createElement("iframe");
frame.style.cssText = "border:0;height:900px;width:" + width + "px";
frame.src = "/report.html";
frame.onload = () => setTimeout(() => {
  const page = frame.contentDocument;
  const blank = [...page.querySelectorAll("canvas")].map((canvas) => {
    const { width, height } = canvas;
    const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
    return !data.some((byte) => byte !== 0);
  });
  const { scrollWidth, clientWidth } = page.documentElement;
  const sticksOut = scrollWidth - clientWidth;
  document.getElementById("result").textContent = JSON.stringify({ blank, sticksOut });
}, 3000);
document.body.append(frame);
</script>`;

/** The browser's name, or undefined if there is none. */
function findBrowser(): string | undefined {
  for (const name of ["chromium", "chromium-browser", "google-chrome"]) {
    try {
      execFileSync(name, ["--version"], { stdio: "ignore" });
      return name;
    } catch {}
  }
  return undefined;
}

const browser = findBrowser();
const skip = browser === undefined && process.env["CI"] !== "true" && "chromium is not installed";
let folder: string;
let server: Server;
const requests: string[] = [];

before(async () => {
  if (skip !== false) return;
  folder = mkdtempSync(join(tmpdir(), "zcache-report-"));
  const file = join(folder, "report.html");
  execFileSync(process.execPath, [CLI, "analyze", DATA, "--html", file], { stdio: "ignore" });
  const report = readFileSync(file, "utf8");
  server = createServer((request, response) => {
    requests.push(request.url!);
    response.setHeader("content-type", "text/html; charset=utf-8");
    response.end(request.url === "/report.html" ? report : MEASURE);
  });
  await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
});

after(() => {
  server?.close();
  if (folder !== undefined) rmSync(folder, { recursive: true });
});

for (const width of [390, 1280]) {
  test(`the report at a width of ${width} pixels`, { skip }, async () => {
    const { port } = server.address() as AddressInfo;
    const profile = join(folder, `profile-${width}`);
    const url = `http://127.0.0.1:${port}/measure?width=${width}`;
    const args = [...FLAGS, `--user-data-dir=${profile}`, "--dump-dom", url];
    const { stdout } = await promisify(execFile)(browser!, args, { timeout: 60_000 });
    const result = /<pre id="result">(.*?)<\/pre>/.exec(stdout)?.[1];
    assert.ok(result, "the browser has measured the page");
    assert.deepEqual(JSON.parse(result), { blank: [false, false, false], sticksOut: 0 });
    const others = requests.filter((path) => !/^\/(measure|report\.html|favicon)/.test(path));
    assert.deepEqual(others, [], "the report loads nothing");
  });
}
