// The files of the web page, built by scripts/build.mjs from src/dashboard/ and read once when the
// server starts. The server has no other files.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { ZcacheError } from "../../base/errors.ts";
import { PAGE_FOLDER } from "../../node/chart_library.ts";

export interface Asset {
  readonly type: string;
  readonly body: Buffer;
  readonly etag: string;
}

const FILES: readonly (readonly [path: string, file: string, type: string])[] = [
  ["/", "index.html", "text/html; charset=utf-8"],
  ["/app.css", "app.css", "text/css; charset=utf-8"],
  ["/app.js", "app.js", "text/javascript; charset=utf-8"],
  ["/chart.js", "chart.js", "text/javascript; charset=utf-8"],
];

/** The files by path. @throws ZcacheError ERR_IO if the page was not built */
export function readAssets(): ReadonlyMap<string, Asset> {
  try {
    return new Map(
      FILES.map(([path, file, type]) => [
        path,
        assetOf(readFileSync(new URL(file, PAGE_FOLDER)), type),
      ]),
    );
  } catch (cause) {
    const message = `the web page is not built: ${(cause as Error).message}`;
    throw new ZcacheError("ERR_IO", message, { cause });
  }
}

function assetOf(body: Buffer, type: string): Asset {
  const hash = createHash("sha256").update(body).digest("base64url").slice(0, 16);
  return { type, body, etag: `"${hash}"` };
}
