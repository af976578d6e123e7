// Random and mutated requests over real sockets, also with TLS: the server goes on, items that
// were stored before can be read, memory is bounded. `npm run bench -- memcached-fuzz` sends five
// million.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { benchFuzz } from "../../bench/memcached/fuzz.ts";
import { without } from "../../bench/programs.ts";
import { MIB } from "../../src/base/units.ts";
import { temporaryFolder } from "../doubles/temporary_folder.ts";

const folder = temporaryFolder("fuzz");

test("no input ends the server or loses an item", { skip: without("openssl") }, async () => {
  const [cert, key] = [join(folder, "cert.pem"), join(folder, "key.pem")];
  const args = [
    "req",
    "-x509",
    "-newkey",
    "rsa:2048",
    "-nodes",
    "-days",
    "1",
    "-subj",
    "/CN=zcache",
  ];
  execFileSync("openssl", [...args, "-keyout", key, "-out", cert], { stdio: "ignore" });
  const options = { inputs: 30_000, seed: 4711, tls: { cert, key }, print: () => {} };
  const { inputs, wrong, internalErrors, residentBytes } = await benchFuzz(options);
  assert.ok(inputs >= 30_000);
  assert.equal(wrong, 0);
  assert.equal(internalErrors, 0);
  // Two servers with 64 MiB of items each, at most.
  assert.ok(residentBytes[1] < 600 * MIB, `${residentBytes[1] / MIB} MiB`);
});
