// The configuration of a daemon: flags and the file use the same names and the same checks, and an
// error names the key, the value and what is allowed.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Command } from "commander";
import fc from "fast-check";
import { ZcacheError } from "../../../src/base/errors.ts";
import { nearest } from "../../../src/base/option_names.ts";
import { exposureWarning, isLoopback, parseAddress } from "../../../src/cli/serve/address.ts";
import {
  type Config,
  changesBetween,
  type Entries,
  resolveConfig,
} from "../../../src/cli/serve/config.ts";
import { parseConfig } from "../../../src/cli/serve/config_file.ts";
import { allKeys, configText } from "../../../src/cli/serve/config_text.ts";
import { addFlags, flagEntries, flagName } from "../../../src/cli/serve/flags.ts";
import { keyOf } from "../../../src/cli/serve/setting.ts";
import { SECTIONS } from "../../../src/cli/serve/settings.ts";

const ROOT = fileURLToPath(new URL("../../../../", import.meta.url));
const STYLE = { prefixed: true };
const flagOf = (section: (typeof SECTIONS)[number], key: string) =>
  `--${flagName(section, key, STYLE)}`;

function flags(...args: string[]): Entries {
  const command = new Command("serve").exitOverride().configureOutput({ writeErr: () => {} });
  for (const section of SECTIONS) addFlags(command, section, STYLE);
  command.parse(args, { from: "user" });
  return new Map(SECTIONS.flatMap((section) => [...flagEntries(command, section, STYLE)]));
}

const resolve = (...layers: Entries[]) =>
  resolveConfig(layers, (section, key) => flagOf(section as (typeof SECTIONS)[number], key));
const fromFlags = (...args: string[]) => resolve(flags(...args));
const fromFile = (text: string) => resolve(parseConfig(text, "z.toml"));

function messageOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof ZcacheError, String(error));
    return error.message;
  }
  return assert.fail("it was taken");
}

describe("errors of the file", () => {
  const cases: readonly (readonly [text: string, message: string])[] = [
    ["[nbd]\nsise = 1", "z.toml:2: nbd.sise: unknown key; did you mean size?"],
    ["[ndb]\nsize = 1", "z.toml:1: [ndb]: unknown section; did you mean [nbd]?"],
    ["# a\n\ncontrl = 'x'", "z.toml:3: contrl: unknown key; did you mean control?"],
    ["nbd = 1", "z.toml:1: nbd is a section; write [nbd]"],
    ["nbd.size = 'many'", SIZE("z.toml:1: nbd.size", "many")],
    ["[nbd]\nsize = 'many'", SIZE("z.toml:2: nbd.size", "many")],
    ["nbd = {size = 'many'}", SIZE("z.toml: nbd.size", "many")],
    [
      "[memcached]\nthreads = 0",
      'z.toml:2: memcached.threads: "0" is not allowed; write a whole number from 1 to 64',
    ],
    [
      "[memcached]\nthreads = true",
      "z.toml:2: memcached.threads: true is not allowed; write a number",
    ],
    [
      "[memcached]\nflush = 'no'",
      'z.toml:2: memcached.flush: "no" is not allowed; write true or false',
    ],
    [
      "[memcached]\nprotocol = 'http'",
      'z.toml:2: memcached.protocol: "http" is not allowed; write one of auto, ascii, binary',
    ],
    [
      "[nbd]\nsocket-mode = 600",
      "z.toml:2: nbd.socket-mode: 600 is not allowed; write three octal digits in quotes, " +
        'such as "600"',
    ],
    [
      "[memcached]\nlisten = [['a']]",
      "z.toml:2: memcached.listen: this list is not allowed; write a string, a number, true or " +
        "false, or a list of strings",
    ],
    [
      "[nbd]\nimage = 1979-05-27",
      "z.toml:2: nbd.image: this kind of value is not allowed; write a string, a number, true or " +
        "false, or a list of strings",
    ],
    [
      "[web]\nlisten = '1:2:3'",
      'z.toml:2: web.listen: "1:2:3" is not allowed; write HOST:PORT, such as 127.0.0.1:8080',
    ],
    [
      "[memcached]\ntls-key = 'k'",
      "memcached.tls-cert and memcached.tls-key: give both or neither",
    ],
    ["[nbd]\nexport = ['a=1G', 'a=2G']", 'nbd.export: the name "a" is given twice'],
    ["control = ''", 'z.toml:1: control: "" is not allowed; write a path, or false for none'],
  ];
  for (const [text, message] of cases) {
    test(JSON.stringify(text), () =>
      assert.equal(
        messageOf(() => fromFile(text)),
        message,
      ),
    );
  }

  test("a syntax error, with line and column", () => {
    assert.match(
      messageOf(() => fromFile("[nbd]\nsize = \n")),
      /^z\.toml:2:\d+: not TOML: .+/,
    );
    assert.match(
      messageOf(() => fromFile("[nbd]\nsize = 1\nsize = 2\n")),
      /^z\.toml:3:\d+: not TOML: .+/,
    );
  });

  test("any text is a configuration or a one-line error", () => {
    const word = fc.constantFrom("nbd", "size", "[", "]", "=", "\n", "'", '"', "1", "{", ".", "a");
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(word).map((all) => all.join("")),
        ),
        (text) => {
          try {
            fromFile(text);
          } catch (error) {
            assert.ok(error instanceof ZcacheError, String(error));
            assert.equal(error.message.split("\n").length, 1, error.message);
          }
        },
      ),
    );
  });

  test("names of object properties are unknown keys", () => {
    for (const text of ["__proto__ = 1", "[nbd]\nconstructor = 1", "[__proto__]\na = 1"]) {
      assert.match(
        messageOf(() => fromFile(text)),
        /unknown (key|section)|not TOML/,
        text,
      );
    }
  });
});

function SIZE(name: string, text: string): string {
  return `${name}: "${text}" is not a size; write bytes or a number with K, M or G, such as 64K`;
}

describe("flags and the file are equivalent", () => {
  /** Values that no setting of its shape takes, and one that all of a kind take. */
  const bad: Readonly<Record<string, string>> = {
    ...{ size: "many", n: "-1", seconds: "x", octal: "9", "host:port": "a:b:c", network: "x" },
    ...{ "name=size": "=1", char: "ab", version: "1.1", mode: "x", type: "x" },
  };

  test("a wrong value gives the same error in both", () => {
    let looked = 0;
    for (const section of SECTIONS) {
      for (const [name, { hint, shape }] of Object.entries(section.settings)) {
        const value = bad[hint];
        if (value === undefined || shape === "switch") continue;
        const key = keyOf(name);
        const flag = flagOf(section, key);
        const byFlag = messageOf(() => fromFlags(`${flag}=${value}`));
        const header = section.name === "" ? "" : `[${section.name}]\n`;
        const byFile = messageOf(() => fromFile(`${header}${key} = ${JSON.stringify(value)}`));
        assert.ok(byFlag.startsWith(`${flag}: `), byFlag);
        const path = section.name === "" ? key : `${section.name}.${key}`;
        assert.equal(byFile.replace(/^z\.toml:\d: /, ""), byFlag.replace(flag, path));
        looked++;
      }
    }
    assert.ok(looked > 20, `${looked} settings`);
  });

  test("the same settings give the same configuration", () => {
    const text = `
control = "c"
control-mode = "660"
[memcached]
listen = ["127.0.0.1:1", "notls:[::1]:2"]
memory-max = "1G"
threads = 2
flush = false
allow-shutdown = true
[nbd]
size = 1048576
export = "a=1M"
read-only = true
[web]
enabled = false
`;
    const same = fromFlags(
      ...["--control", "c", "--control-mode", "660"],
      ...["--memcached-listen", "127.0.0.1:1", "--memcached-listen", "notls:[::1]:2"],
      ...["--memcached-memory-max", "1G", "--memcached-threads", "2", "--no-memcached-flush"],
      ...["--memcached-allow-shutdown", "--nbd-size", "1M", "--nbd-export", "a=1M"],
      ...["--nbd-read-only", "--no-web"],
    );
    assert.deepEqual(fromFile(text), same);
    assert.equal(same.daemon.controlMode, 0o660);
    assert.equal(same.nbd.size, 1024 * 1024);
  });

  test("flags override the file in both directions", () => {
    const file = parseConfig("control = false\n[memcached]\nflush = false\nthreads = 2", "z.toml");
    const { memcached, daemon } = resolve(flags("--memcached-flush", "--control", "x"), file);
    assert.deepEqual([memcached.flush, memcached.threads, daemon.control], [true, 2, "x"]);
    assert.equal(
      resolve(flags("--no-control"), parseConfig("control = 'x'", "z")).daemon.control,
      false,
    );
  });

  test("a printed configuration reads back the same", () => {
    const config = fromFlags("--nbd-size", "8G", "--memcached-listen", "notls:[::1]:5", "--no-web");
    assert.deepEqual(fromFile(configText(config)), config);
    assert.deepEqual(fromFile(configText(resolve())), resolve());
    assert.deepEqual(changesBetween(config, config), []);
    const other = fromFlags("--nbd-size", "8G", "--memcached-listen", "notls:[::1]:6", "--no-web");
    assert.deepEqual(
      changesBetween(config, other).map(({ path }) => path),
      ["memcached.listen"],
    );
  });
});

describe("the example configuration", () => {
  const example = readFileSync(join(ROOT, "contrib/zcache.toml"), "utf8");

  test("has every key with its default", () => {
    const uncommented = example.replace(/^# ([a-z-]+ = )/gm, "$1");
    const written = parseConfig(uncommented.replace(/^.* = "<.*>"$/gm, ""), "zcache.toml");
    const config: Config = resolve(written);
    assert.deepEqual(config, resolve());
    const keys = [...parseConfig(uncommented, "zcache.toml").keys()];
    assert.deepEqual(keys.sort(), [...allKeys()].sort());
    assert.deepEqual([...parseConfig(example, "zcache.toml").keys()], [], "all are comments");
  });

  test("the documentation has every key, with the text of the help", () => {
    const page = join(ROOT, "docs/serve.md");
    assert.ok(existsSync(page));
    const text = readFileSync(page, "utf8");
    for (const section of SECTIONS) {
      for (const [name, { describe }] of Object.entries(section.settings)) {
        const row = text.split("\n").find((line) => line.includes(`\`${keyOf(name)}\``));
        assert.ok(row !== undefined, `${section.name} ${keyOf(name)}`);
        const isSame = text.includes(` | ${describe} |`);
        assert.ok(isSame, `${section.name} ${keyOf(name)}: the table of docs/serve.md differs`);
      }
    }
  });
});

test("addresses default to loopback, and others cause a warning", () => {
  const where = (text: string) => parseAddress(text, "listen", 7, ["notls"]);
  assert.deepEqual(where(":1"), { host: "127.0.0.1", port: 1, prefix: "" });
  assert.deepEqual(where("host"), { host: "host", port: 7, prefix: "" });
  assert.deepEqual(where("[::1]:8"), { host: "::1", port: 8, prefix: "" });
  assert.deepEqual(where("notls:a:8"), { host: "a", port: 8, prefix: "notls" });
  for (const text of ["", "a:99999", "a:b", "a:1:2", "[::1", "notls:"]) {
    assert.throws(() => where(text), { code: "ERR_OPTION" }, text);
  }
  for (const host of ["127.0.0.1", "127.1.2.3", "localhost", "::1"]) assert.ok(isLoopback(host));
  for (const host of ["0.0.0.0", "::", "127.evil.example", "10.0.0.1"]) {
    assert.ok(!isLoopback(host), host);
  }
  assert.equal(exposureWarning("x", ["127.0.0.1", "::1"], "y"), undefined);
  assert.match(exposureWarning("x", ["127.0.0.1", "::"], "y")!, /^warning: x: :: is open/);
});

test("the nearest name is at most two letters away", () => {
  const names = ["size", "socket", "socket-mode", "listen"];
  assert.equal(nearest("sice", names), "size");
  assert.equal(nearest("socketmode", names), "socket-mode");
  assert.equal(nearest("lisen", names), "listen");
  assert.equal(nearest("memory", names), undefined);
  assert.equal(nearest("", names), undefined);
});
