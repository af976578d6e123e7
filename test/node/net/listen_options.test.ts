// The options of the servers: each name and kind is checked before anything is started, also in
// nested objects, and the error says what was meant or is allowed.
import assert from "node:assert/strict";
import { test } from "node:test";
import { type MemcachedServerOptions, startMemcachedServer } from "../../../src/memcached/index.ts";
import { type NbdOptions, startNbdServer, Zram } from "../../../src/nbd/index.ts";
import { createStore } from "../../../src/node/stores.ts";

test("an NBD server", async () => {
  const store = createStore({ memoryMax: "8MiB" });
  const device = Zram.create(store, 1 << 20);
  const exports = [{ device }];
  const listen = [{ host: "127.0.0.1", port: 0 }];
  const good = { exports, listen };
  const wrong: readonly (readonly [object, RegExp])[] = [
    [{ ...good, thread: 1 }, /no option "thread"; did you mean threads\?/],
    [{ ...good, exports: [{ device, readonly: true }] }, /exports\[0\] .*did you mean readOnly\?/],
    [{ ...good, exports: [{ device, readOnly: "no" }] }, /exports\[0\]\.readOnly: "no"/],
    [{ ...good, exports: [{ name: "a" }] }, /exports\[0\]\.device: .*give a Zram/],
    [{ ...good, exports: [{ device, name: 7 }] }, /exports\[0\]\.name: 7/],
    [{ ...good, exports: [] }, /exports: none/],
    [{ ...good, exports: device }, /exports: .*give a list/],
    [{ exports }, /listen: undefined is not allowed; give a list/],
    [{ ...good, listen: [{ path: "x", moed: 0o600 }] }, /listen\[0\] .*did you mean mode\?/],
    [{ ...good, listen: [{ path: "x", mode: 0o1777 }] }, /listen\[0\]\.mode: 1023/],
    [{ ...good, listen: [{ path: "x", port: 1 }] }, /either path, or host and port/],
    [{ ...good, listen: [{ host: "a", port: 70_000 }] }, /listen\[0\]\.port: 70000/],
    [{ ...good, listen: [{ host: "a" }] }, /listen\[0\]\.port: undefined/],
    [{ ...good, listen: [{ host: 5, port: 1 }] }, /listen\[0\]\.host: 5/],
    [{ ...good, listen: [7] }, /listen\[0\]: an object, not 7/],
    [{ ...good, allow: "10.0.0.0/8" }, /allow: .*give a list/],
    [{ ...good, allow: ["10.0.0.0/99"] }, /allow "10\.0\.0\.0\/99"/],
    [{ ...good, tls: { key: "a", crt: "b" } }, /tls has no option "crt"; did you mean cert\?/],
    [{ ...good, tls: { key: "a", cert: "b", mode: "always" } }, /tls\.mode: "always".*required/],
    [{ ...good, tls: { key: "a", cert: "b" } }, /TLS certificate or key/],
    [{ ...good, threads: 0 }, /threads 0: must be from 1 to 64/],
    [{ ...good, handshakeMs: 2 ** 31 }, /handshakeMs 2147483648: must be/],
    [{ ...good, log: true }, /log: true/],
  ];
  for (const [options, message] of wrong) {
    const started = startNbdServer(store, options as NbdOptions);
    await assert.rejects(started, { name: "ZcacheError", message }, String(message));
  }
  store.close();
});

test("a memcached server", async () => {
  const wrong: readonly (readonly [object, RegExp])[] = [
    [{ memorymax: 1 }, /no option "memorymax"; did you mean memoryMax\?/],
    [{ listen: [{ path: "x", mod: 1 }] }, /listen\[0\] .*did you mean mode\?/],
    [{ listen: [{ host: "a", prt: 1 }] }, /listen\[0\] .*did you mean port\?/],
    [{ listen: [{ port: "a" }] }, /listen\[0\]\.port: "a"/],
    [{ listen: { port: 1 } }, /listen: give a list/],
    [{ listen: [{ port: 1, tls: { certt: "x" } }] }, /listen\[0\]\.tls .*did you mean cert\?/],
    [[], /an object/],
  ];
  for (const [options, message] of wrong) {
    const started = startMemcachedServer(options as MemcachedServerOptions);
    await assert.rejects(started, { code: "ERR_OPTION", message }, String(message));
  }
});
