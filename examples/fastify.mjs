// Fastify with its responses cached by two hooks: node examples/fastify.mjs, then
//   curl -i localhost:3000/report/7     x-cache: MISS, and slow
//   curl -i localhost:3000/report/7     x-cache: HIT, and not
//
// Whatever route says `cache: "1m"` in its config is cached for that long, if it answers 200.
import fastify from "fastify";
import { Cache } from "zcache";

const cache = Cache.create({ memoryMax: "256MiB" });
const app = fastify();

const keyOf = (request) => `${request.method} ${request.url}`;

app.addHook("onRequest", async (request, reply) => {
  if (request.routeOptions.config.cache === undefined) return;
  const kept = cache.get(keyOf(request));
  if (kept === undefined) return void reply.header("x-cache", "MISS");
  return reply.header("x-cache", "HIT").type(kept.type).send(kept.body);
});

app.addHook("onSend", async (request, reply, body) => {
  const ttl = request.routeOptions.config.cache;
  const isNew = reply.getHeader("x-cache") === "MISS" && reply.statusCode === 200;
  if (ttl !== undefined && isNew && typeof body === "string") {
    cache.set(keyOf(request), { type: reply.getHeader("content-type"), body }, ttl);
  }
  return body;
});

app.get("/report/:id", { config: { cache: "1m" } }, async (request, reply) => {
  const id = Number(request.params.id);
  if (!Number.isInteger(id)) return reply.code(404).send({ error: "no such report" });
  await new Promise((resolve) => setTimeout(resolve, 200));
  return { id, lines: Array.from({ length: 100 }, (_, line) => ({ line, total: line * id })) };
});

await app.listen({ port: Number(process.env.PORT ?? 3000) });
console.log(`listening on ${app.server.address().port}`);
process.once("SIGTERM", async () => {
  await app.close();
  cache.close();
});
