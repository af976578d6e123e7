// `zcache serve` before the clients that people have: nbdinfo, libmemcached's tools, a browser's
// and Prometheus's requests. And what is in contrib/, before systemd's own check. A program that is
// missing skips its tests by name, and fails them where CI=true.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { without } from "../../bench/programs.ts";
import { serveFixture } from "../cli/serve/fixture.ts";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const { at, daemon } = serveFixture();

function run(program: string, ...args: string[]): string {
  const result = spawnSync(program, args, { encoding: "utf8", timeout: 60_000, cwd: at("") });
  assert.equal(result.status, 0, `${program} ${args.join(" ")}: ${result.stderr}${result.stdout}`);
  return result.stdout;
}

test("nbdinfo, memccp and memccat, GET / and /metrics, of one daemon", {
  skip: without("nbdinfo", "memccp", "memccat"),
}, async () => {
  const server = await daemon(
    ...["--memcached-listen", "127.0.0.1:0", "--web-listen", "127.0.0.1:0", "--nbd-size", "64M"],
    ...["--nbd-listen", "127.0.0.1:0", "--control", "i.ctl"],
  );
  const where = (service: string) =>
    new RegExp(`^${service} on (?:http://)?(\\S+?)[/;]?(?:\\s|$)`, "m").exec(server.text)![1]!;
  assert.match(run("nbdinfo", "--size", `nbd://${where("nbd")}`), /^67108864$/m);
  writeFileSync(at("greeting"), "hello from a file");
  run("memccp", `--servers=${where("memcached")}`, "greeting");
  assert.match(run("memccat", `--servers=${where("memcached")}`, "greeting"), /hello from a file/);
  const web = `http://${where("web page")}`;
  const page = await fetch(`${web}/`);
  assert.equal(page.status, 200);
  assert.match(page.headers.get("content-type")!, /^text\/html/);
  const metrics = await (await fetch(`${web}/metrics`)).text();
  assert.match(metrics, /^zcache_\w+\{[^}]*service="memcached"[^}]*\} \d/m);
  assert.match(metrics, /^zcache_\w+\{[^}]*service="nbd"[^}]*\} \d/m);
  assert.equal((await server.end()).code, 0);
});

test("systemd accepts the unit and rates it as hardened", {
  skip: without("systemd-analyze"),
}, () => {
  const unit = readFileSync(join(ROOT, "contrib/zcache.service"), "utf8");
  // The program need not be installed for the check.
  writeFileSync(at("zcache.service"), unit.replaceAll("/usr/local/bin/zcache", "/bin/true"));
  const check = spawnSync("systemd-analyze", ["verify", at("zcache.service")], {
    encoding: "utf8",
    timeout: 60_000,
  });
  assert.deepEqual([check.status, check.stderr.trim()], [0, ""]);
});

test("the unit agrees with the daemon", () => {
  const unit = readFileSync(join(ROOT, "contrib/zcache.service"), "utf8");
  const lines = unit.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  for (const line of lines) assert.match(line, /^(\[[A-Z][a-z]+\]|[A-Z]\w+=.*)$/);
  const start = /^ExecStart=\S+ (.*)$/m.exec(unit)![1]!;
  assert.equal(start, "serve --config /etc/zcache.toml --control /run/zcache/control");
  for (const line of ["ExecReload=/bin/kill -HUP $MAINPID", "Type=notify", "NotifyAccess=all"]) {
    assert.ok(lines.includes(line), line);
  }
  // The just-in-time compiler needs memory that is written and executed.
  assert.ok(!lines.some((line) => line.startsWith("MemoryDenyWriteExecute=yes")));
});

test("the Dockerfile uses no root and no registry, and only existing flags", async () => {
  const text = readFileSync(join(ROOT, "contrib/Dockerfile"), "utf8");
  const joined = text.replace(/^#.*$/gm, "").replace(/\\\n/g, " ");
  const steps = joined.split("\n").filter((line) => line.trim() !== "");
  for (const step of steps) {
    assert.match(
      step,
      /^(FROM|COPY|RUN|ENV|USER|WORKDIR|VOLUME|EXPOSE|STOPSIGNAL|HEALTHCHECK|ENTRYPOINT|CMD) /,
    );
  }
  assert.match(steps[0]!, /^FROM node:20-slim$/);
  assert.ok(steps.includes("USER node"));
  assert.ok(!/https?:|registry/.test(joined));
  const last = JSON.parse(steps.at(-1)!.replace(/^CMD /, "")) as string[];
  const server = await daemon(
    ...last.map((word) => word.replace(/^0\.0\.0\.0:\d+$/, "127.0.0.1:0")),
    "--no-control",
  );
  assert.equal((await server.end()).code, 0);
});
