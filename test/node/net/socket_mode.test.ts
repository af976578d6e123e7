// A Unix socket has the mode of its options, with any umask.
import assert from "node:assert/strict";
import { statSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { listenOnSocket } from "../../../src/node/net/stale_socket.ts";
import { temporaryFolder } from "../../doubles/temporary_folder.ts";

const folder = temporaryFolder("mode");

for (const mask of [0o000, 0o022, 0o077, 0o777]) {
  for (const mode of [0o600, 0o660, 0o700, 0o777]) {
    test(`mode ${mode.toString(8)} under umask ${mask.toString(8)}`, async () => {
      const path = join(folder, `${mask}-${mode}`);
      const server = createServer();
      const before = process.umask(mask);
      try {
        listenOnSocket(server, { path, mode });
        // Before anything else runs: there is no moment in which the file has another mode.
        assert.equal(statSync(path).mode & 0o777, mode);
        assert.equal(process.umask(), mask, "the umask is as before");
      } finally {
        process.umask(before);
      }
      await new Promise((resolve) => server.close(resolve));
    });
  }
}

test("a socket that another server has made keeps its mode", async () => {
  const path = join(folder, "taken");
  const first = createServer();
  listenOnSocket(first, { path, mode: 0o600 });
  const second = createServer();
  const failed = new Promise((resolve) => second.once("error", resolve));
  listenOnSocket(second, { path, mode: 0o777 });
  await failed;
  assert.equal(statSync(path).mode & 0o777, 0o600);
  await new Promise((resolve) => first.close(resolve));
});
