// `zcache serve` as processes in a temporary folder, ended after the tests of a file.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { fileURLToPath } from "node:url";

export const MAIN = fileURLToPath(
  new URL(
    `../../../src/cli/main.${import.meta.url.endsWith(".ts") ? "ts" : "js"}`,
    import.meta.url,
  ),
);
const TIMEOUT_MS = 240_000;
const LOOK_MS = 10;

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly text: string;
  readonly errors: string;
}

export interface DaemonProcess {
  readonly pid: number;
  /** What it has said so far, on stdout and on stderr. */
  readonly text: string;
  readonly errors: string;
  kill(signal: NodeJS.Signals): void;
  /** Waits until it has said something on stderr. */
  untilErrors(expected: RegExp): Promise<void>;
  /** Sends a signal, and waits for the end. */
  end(signal?: NodeJS.Signals): Promise<Ended>;
  readonly ended: Promise<Ended>;
}

export interface ServeFixture {
  readonly folder: string;
  at(name: string): string;
  zcache(...args: string[]): { status: number | null; stdout: string; stderr: string };
  /** A daemon that serves: `zcache serve ARGS`. */
  daemon(...args: string[]): Promise<DaemonProcess>;
  /** The same with another command: `zcache ARGS`. */
  server(...args: string[]): Promise<DaemonProcess>;
}

/** @param main the program, for one that is not as it was built */
export function serveFixture(main = MAIN): ServeFixture {
  const folder = mkdtempSync(join(tmpdir(), "zcache-serve-"));
  // Control sockets lie there too: another daemon may use the user's usual path.
  const env = () => ({ ...process.env, XDG_RUNTIME_DIR: folder });
  const running = new Set<ChildProcess>();
  after(() => {
    for (const child of running) child.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  });
  return {
    folder,
    at: (name) => join(folder, name),
    zcache: (...args) => {
      const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], {
        encoding: "utf8",
        timeout: TIMEOUT_MS,
        cwd: folder,
        env: env(),
      });
      return { status, stdout, stderr };
    },
    daemon: (...args) => startDaemon(main, env(), ["serve", ...args], running),
    server: (...args) => startDaemon(main, env(), args, running),
  };
}

async function startDaemon(
  main: string,
  env: NodeJS.ProcessEnv & { readonly XDG_RUNTIME_DIR: string },
  args: readonly string[],
  running: Set<ChildProcess>,
): Promise<DaemonProcess> {
  const child = spawn(process.execPath, [main, ...args], {
    cwd: env.XDG_RUNTIME_DIR,
    env,
    stdio: ["ignore", "pipe", "pipe"],
  });
  running.add(child);
  const said = { text: "", errors: "" };
  child.stdout.on("data", (data) => {
    said.text += data;
  });
  child.stderr.on("data", (data) => {
    said.errors += data;
  });
  const ended = new Promise<Ended>((resolve) => {
    child.once("close", (code, signal) => {
      running.delete(child);
      resolve({ code, signal, ...said });
    });
  });
  const until = async (isThere: () => boolean, what: string) => {
    const giveUp = performance.now() + TIMEOUT_MS;
    while (!isThere()) {
      if (performance.now() > giveUp || !running.has(child)) {
        child.kill("SIGKILL");
        throw new Error(`it does not ${what}: ${said.text}${said.errors}`);
      }
      await new Promise((done) => setTimeout(done, LOOK_MS));
    }
  };
  // All lines come at once, when everything listens.
  await until(() => /^(nbd|memcached) on .*\n/m.test(said.text), "serve");
  return {
    pid: child.pid!,
    ended,
    get text() {
      return said.text;
    },
    get errors() {
      return said.errors;
    },
    kill: (signal) => void child.kill(signal),
    untilErrors: (expected) => until(() => expected.test(said.errors), `say ${expected}`),
    end: async (signal = "SIGTERM") => {
      child.kill(signal);
      const timer = setTimeout(() => child.kill("SIGKILL"), TIMEOUT_MS);
      const result = await ended;
      clearTimeout(timer);
      const { code, errors } = result;
      const isOther = code === null && result.signal !== signal;
      if (isOther) throw new Error(`ended by ${result.signal}: ${errors}`);
      return result;
    },
  };
}
