// Express with its responses cached: node examples/express.mjs, then
//   curl -i localhost:3000/report/7     x-cache: MISS, and slow
//   curl -i localhost:3000/report/7     x-cache: HIT, and not
//
// The handler is called once for all who ask for the same page at the same time, in all threads;
// after a minute one request makes it anew while the others still get the old one.
import express from "express";
import { Cache } from "zcache";

const cache = Cache.create({ memoryMax: "256MiB", ttl: "1m", staleWhileRevalidate: "10m" });

/** What a page costs without a cache. */
async function report(id) {
  await new Promise((resolve) => setTimeout(resolve, 200));
  return { id, lines: Array.from({ length: 100 }, (_, line) => ({ line, total: line * id })) };
}

/** Answers from the cache; `make` makes the body as text, or undefined, which is not kept. */
function cached(make) {
  return async (request, response) => {
    let hit = "HIT";
    const body = await cache.fetch(`GET ${request.originalUrl}`, () => {
      hit = "MISS";
      return make(request);
    });
    if (body === undefined) return response.sendStatus(404);
    response.set("x-cache", hit).type("json").send(body);
  };
}

const app = express();
app.get(
  "/report/:id",
  cached(async ({ params }) =>
    /^\d+$/.test(params.id) ? JSON.stringify(await report(Number(params.id))) : undefined,
  ),
);
const server = app.listen(Number(process.env.PORT ?? 3000), () => {
  console.log(`listening on ${server.address().port}`);
});
process.once("SIGTERM", () => {
  server.close(() => cache.close());
  server.closeAllConnections();
});
