// The daemon: starts the services that a configuration asks for, or none of them; does what signals
// say; and ends in bounded time.
//
//   SIGTERM, SIGINT   ends connections, saves, ends; a second one ends at once
//   SIGHUP            reads configuration, certificates and passwords again
import { ZcacheError } from "../../base/errors.ts";
import type { Knob } from "../../base/knob.ts";
import type { State } from "../../dashboard/api.ts";
import { ControlServer } from "../../monitor/control.ts";
import { InternalErrors } from "../../node/internal_errors.ts";
import { warnOfMemory } from "../../node/machine_memory.ts";
import { defaultControlPath } from "../control_path.ts";
import { complain, EXIT_FAILED, reportError } from "../exit.ts";
import { goOnWithoutOutput, write } from "../output.ts";
import type { Config } from "./config.ts";
import { devicesOf, nbdMemoryBytes } from "./nbd_settings.ts";
import { notifySystemd } from "./notify.ts";
import { reload } from "./reload.ts";
import type { Service } from "./service.ts";

/** Which command: all services that the configuration asks for, or the one that was named. */
export type Scope = "all" | "nbd" | "memcached";

const END_SIGNALS = ["SIGTERM", "SIGINT"] as const;

export interface DaemonOptions {
  readonly scope: Scope;
  readonly version: string;
  /** Reads flags and file: once at the start, and at each reload. @throws ZcacheError */
  load(): Config;
}

export class Daemon {
  readonly #options: DaemonOptions;
  readonly #startedMs = Date.now();
  readonly #services: Service[] = [];
  /** What nobody expected outside of the services: it ends a request or a task, not the daemon. */
  readonly #errors = new InternalErrors();
  #config: Config;
  #control: ControlServer | undefined;
  #isServing = false;
  #end: (gracefully: boolean) => void = () => {};
  /** Whether it ends gracefully, once somebody wants that it ends. */
  readonly #ended: Promise<boolean>;

  private constructor(options: DaemonOptions) {
    this.#options = options;
    this.#config = options.load();
    this.#ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  /**
   * Runs until a signal or a client ends it; ends the process.
   * @throws ZcacheError where it can't start; then nothing of it is left
   */
  static async run(options: DaemonOptions): Promise<void> {
    const daemon = new Daemon(options);
    goOnWithoutOutput();
    daemon.#onSignals();
    let code = 0;
    let hasServed = false;
    try {
      const lines = await daemon.#start();
      daemon.#isServing = true;
      hasServed = true;
      daemon.#goOnAfterErrors();
      await write(`${lines.join("\n")}\n`);
      await notifySystemd("--ready");
      // Who wants it to end at once has nothing to wait for.
      if (!(await daemon.#ended)) process.exit(0);
    } catch (error) {
      code = reportError(error);
    }
    daemon.#isServing = false;
    void notifySystemd("--stopping");
    const failed = await daemon.#close(hasServed);
    // Threads of memcached hold descriptors that only the end of the process gives back.
    process.exit(failed ? EXIT_FAILED : code);
  }

  /** An error that has come through all else ends the task in which it was thrown. */
  #goOnAfterErrors(): void {
    const report = (error: unknown) => this.#errors.report("a task of the daemon", error);
    process.on("uncaughtException", report);
    process.on("unhandledRejection", report);
  }

  /** A client of memcached may end the daemon at once, unless others have something to save. */
  readonly #onShutdown = (gracefully: boolean): void => {
    this.#end(gracefully || this.#options.scope === "all");
  };

  /** Loads the code of the services that are wanted only. @returns what is said of it */
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
        "nothing is to be served: memcached and nbd are both off",
      );
    }
    const knobs = this.#knobs();
    await this.#startControl(knobs);
    if (isAll && web.enabled) {
      const { startWeb } = await import("./web.ts");
      const observed = this.#services.flatMap((one) => one.observed ?? []);
      this.#services.push(await startWeb(web, { observed, knobs, version, errors: this.#errors }));
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
      // A second daemon of this user: it serves, and is controlled if it has a path of its own.
      if (control !== undefined || !(error instanceof ZcacheError)) throw error;
      complain(`no control socket: ${error.message}; give it a path by \`control\``);
    }
  }

  /**
   * Where there may be several services, each knob's name begins with its service's: also where
   * one of them runs now, so that scripts go on when there are more.
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
        }),
      ),
    );
  }

  #stats(): Record<string, unknown> {
    const seen = this.#services.filter(({ observed }) => observed !== undefined);
    const daemon = { internal_errors: this.#errors.count };
    if (this.#options.scope !== "all") return { ...seen[0]!.stats(), daemon };
    return { ...Object.fromEntries(seen.map(({ name, stats }) => [name, stats()])), daemon };
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
      services: this.#services.flatMap(({ observed }) => observed?.picture() ?? []),
    };
  }

  #onSignals(): void {
    const end = () => {
      // From now on, the system's own way is back: a second signal ends the process at once, even
      // while pages are being saved.
      for (const signal of END_SIGNALS) process.removeListener(signal, end);
      this.#end(true);
    };
    for (const signal of END_SIGNALS) process.on(signal, end);
    // memcached's own signal for a graceful end.
    if (this.#options.scope === "memcached") process.once("SIGUSR1", end);
    process.on("SIGHUP", () => this.#reload());
  }

  #reload(): void {
    // What begins has just read all of it, and what ends has no use for it.
    if (!this.#isServing) return;
    try {
      const wanted = this.#options.load();
      for (const line of reload(this.#services, this.#config, wanted)) complain(line);
      this.#config = wanted;
    } catch (error) {
      if (error instanceof ZcacheError) complain(`reload: nothing is changed: ${error.message}`);
      else this.#errors.report("a reload", error);
    }
  }

  /** @param saves whether what they have to save may be saved @returns whether something failed */
  async #close(saves: boolean): Promise<boolean> {
    const control = this.#control?.close();
    // The web page first, because it looks at the others.
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
