// The daemon: starts either all services of a configuration or none, handles signals, and ends in
// bounded time.
//
//   SIGTERM, SIGINT   ends connections, saves data, exits; a second signal exits at once
//   SIGHUP            reads configuration, certificates and passwords again
import { spawn } from "node:child_process";
import { ZcacheError } from "../../base/errors.ts";
import type { Knob } from "../../base/knob.ts";
import type { State } from "../../dashboard/api.ts";
import { ControlServer, defaultControlPath } from "../../monitor/control.ts";
import { InternalErrors } from "../../node/internal_errors.ts";
import { warnOfMemory } from "../../node/machine_memory.ts";
import { complain, EXIT_FAILED, reportError } from "../exit.ts";
import { goOnWithoutOutput, write } from "../output.ts";
import type { Config } from "./config.ts";
import { reload } from "./reload.ts";
import type { Service } from "./service.ts";
import { devicesOf, nbdMemoryBytes } from "./settings.ts";

/** All services of the configuration (`zcache serve`), or the one that the command names. */
export type Scope = "all" | "nbd" | "memcached";

const END_SIGNALS = ["SIGTERM", "SIGINT"] as const;
const NOTIFY_MS = 5000;

export interface DaemonOptions {
  readonly scope: Scope;
  readonly version: string;
  /** Reads flags and file; called at the start and at each reload. @throws ZcacheError */
  load(): Config;
  /** Called once everything listens. @throws ZcacheError that ends the daemon */
  started?(): void;
}

export class Daemon {
  readonly #options: DaemonOptions;
  readonly #startedMs = Date.now();
  readonly #services: Service[] = [];
  /** Unexpected errors outside of the services. Each ends a request or a task, not the daemon. */
  readonly #errors = new InternalErrors();
  #config: Config;
  #control: ControlServer | undefined;
  #isServing = false;
  #end: (gracefully: boolean) => void = () => {};
  /** Resolves when the daemon is to end, with whether it ends gracefully. */
  readonly #ended: Promise<boolean>;

  private constructor(options: DaemonOptions) {
    this.#options = options;
    this.#config = options.load();
    this.#ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  /**
   * Runs the daemon until a signal or a client ends it, then exits the process. If the start fails,
   * everything that was started is ended, and the exit code says so.
   */
  static async run(options: DaemonOptions): Promise<void> {
    const daemon = new Daemon(options);
    goOnWithoutOutput();
    daemon.#onSignals();
    let code = 0;
    let hasServed = false;
    try {
      const lines = await daemon.#start();
      options.started?.();
      daemon.#isServing = true;
      hasServed = true;
      daemon.#goOnAfterErrors();
      await write(`${lines.join("\n")}\n`);
      await notifySystemd("--ready");
      // An end that is not graceful saves nothing.
      if (!(await daemon.#ended)) process.exit(0);
    } catch (error) {
      code = reportError(error);
    }
    daemon.#isServing = false;
    void notifySystemd("--stopping");
    const failed = await daemon.#close(hasServed);
    // memcached's threads hold descriptors that only the end of the process releases.
    process.exit(failed ? EXIT_FAILED : code);
  }

  /** An error that nothing else has caught ends only the task that threw it. */
  #goOnAfterErrors(): void {
    const report = (error: unknown) => this.#errors.report("a task of the daemon", error);
    process.on("uncaughtException", report);
    process.on("unhandledRejection", report);
  }

  /**
   * memcached's `shutdown` ends the daemon at once, unless other services may have data to save.
   */
  readonly #onShutdown = (gracefully: boolean): void => {
    this.#end(gracefully || this.#options.scope === "all");
  };

  /** Loads and starts the services. @returns lines for the user: where each listens */
  async #start(): Promise<string[]> {
    const { scope, version } = this.#options;
    const { nbd, memcached, web } = this.#config;
    const isAll = scope === "all";
    const hasNbd = scope === "nbd" || (isAll && nbd.enabled && devicesOf(nbd).length > 0);
    const hasMemcached = scope === "memcached" || (isAll && memcached.enabled);
    const memoryBytes =
      (hasNbd ? nbdMemoryBytes(nbd) : 0) + (hasMemcached ? memcached.memoryMax : 0);
    warnOfMemory("memory-max of all services", memoryBytes, (text) => complain(`warning: ${text}`));
    if (hasNbd) {
      const { startNbd } = await import("./nbd.ts");
      this.#services.push(await startNbd(nbd, this.#errors));
    }
    if (hasMemcached) {
      const { startMemcached } = await import("./memcached.ts");
      this.#services.push(await startMemcached(memcached, this.#onShutdown));
    }
    if (this.#services.length === 0) {
      throw new ZcacheError(
        "ERR_OPTION",
        "there is nothing to serve: memcached and nbd are both off",
      );
    }
    const knobs = this.#knobs();
    await this.#startControl(knobs);
    if (isAll && web.enabled) {
      const { startWeb } = await import("./web.ts");
      const monitors = this.#services.flatMap((one) => one.monitor ?? []);
      this.#services.push(await startWeb(web, { monitors, knobs, version, errors: this.#errors }));
    }
    const lines = this.#services.map((one) => one.line);
    return [...lines, ...(this.#control === undefined ? [] : [`control on ${this.#control.path}`])];
  }

  async #startControl(knobs: readonly Knob[]): Promise<void> {
    const { control, controlMode } = this.#config.daemon;
    if (control === false) return;
    const path = control ?? defaultControlPath();
    try {
      this.#control = await ControlServer.start({
        ...{ path, knobs, mode: controlMode, errors: this.#errors },
        stats: () => this.#stats(),
        state: () => this.#state(),
      });
    } catch (error) {
      // A second daemon of this user serves without a control socket unless it has its own path.
      if (control !== undefined || !(error instanceof ZcacheError)) throw error;
      complain(`no control socket: ${error.message}; set \`control\` to another path`);
    }
  }

  /**
   * The knobs of all services. With `zcache serve`, names begin with the service even if only one
   * runs, so that scripts keep working when another is added.
   */
  #knobs(): Knob[] {
    if (this.#options.scope !== "all") return [...this.#services[0]!.knobs];
    return this.#services.flatMap(({ name: service, knobs }) =>
      knobs.map(
        (knob): Knob => ({
          name: `${service}.${knob.name}`,
          describe: knob.describe,
          get: () => knob.get(),
          ...(knob.set === undefined ? {} : { set: (text: string) => knob.set!(text) }),
          ...(knob.run === undefined ? {} : { run: (text: string) => knob.run!(text) }),
        }),
      ),
    );
  }

  #stats(): Record<string, unknown> {
    const monitored = this.#services.filter(({ monitor }) => monitor !== undefined);
    const daemon = { internal_errors: this.#errors.count };
    if (this.#options.scope !== "all") return { ...monitored[0]!.stats(), daemon };
    return { ...Object.fromEntries(monitored.map(({ name, stats }) => [name, stats()])), daemon };
  }

  #state(): State {
    const nowMs = Date.now();
    return {
      version: this.#options.version,
      nowMs,
      uptimeMs: nowMs - this.#startedMs,
      residentBytes: process.memoryUsage.rss(),
      internalErrors: this.#errors.count,
      mayChange: false,
      services: this.#services.flatMap(({ monitor }) => monitor?.picture() ?? []),
    };
  }

  #onSignals(): void {
    const end = () => {
      // Restores the default action: a second signal ends the process at once, even while data is
      // being saved.
      for (const signal of END_SIGNALS) process.removeListener(signal, end);
      this.#end(true);
    };
    for (const signal of END_SIGNALS) process.on(signal, end);
    // memcached's own signal for a graceful end.
    if (this.#options.scope === "memcached") process.once("SIGUSR1", end);
    process.on("SIGHUP", () => this.#reload());
  }

  #reload(): void {
    // A daemon that is starting has just read everything; one that is ending needs nothing.
    if (!this.#isServing) return;
    try {
      const wanted = this.#options.load();
      for (const line of reload(this.#services, this.#config, wanted)) complain(line);
      this.#config = wanted;
    } catch (error) {
      if (error instanceof ZcacheError) complain(`reload: nothing was changed: ${error.message}`);
      else this.#errors.report("a reload", error);
    }
  }

  /** Ends all services. @param saves whether they may save data @returns whether one failed */
  async #close(saves: boolean): Promise<boolean> {
    const control = this.#control?.close();
    // The web page ends first, because it reads the others.
    let failed = false;
    for (const service of [...this.#services].reverse()) {
      try {
        const saved = await service.close(saves);
        if (saved !== "") await write(`${saved}\n`);
      } catch (error) {
        reportError(error);
        failed = true;
      }
    }
    await control;
    return failed;
  }
}

/**
 * Reports a state to systemd, if systemd started the daemon with Type=notify. Node.js has no Unix
 * datagram sockets, so the program systemd-notify sends the message.
 * @param state an argument of systemd-notify: `--ready` or `--stopping`
 */
async function notifySystemd(...state: string[]): Promise<void> {
  if (process.env["NOTIFY_SOCKET"] === undefined) return;
  await new Promise<void>((resolve) => {
    const child = spawn("systemd-notify", [`--pid=${process.pid}`, ...state], {
      stdio: "ignore",
      timeout: NOTIFY_MS,
    });
    // Without the program, systemd waits until its own time limit.
    child.once("error", () => resolve());
    child.once("exit", () => resolve());
  });
}
