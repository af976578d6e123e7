// What the demonstrations share: they look for programs, and undo their steps at the end.
import { execFileSync } from "node:child_process";

/** Whether a program is installed. */
export function has(program) {
  try {
    execFileSync("sh", ["-c", `command -v ${program}`], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

/** Steps to be undone, the last one first; one that fails is reported and leaves the others. */
export class Undo {
  #name;
  #pauseMs;
  #steps = [];

  /** @param name of the demonstration  @param pauseMs after each step: devices end slowly */
  constructor(name, pauseMs = 0) {
    this.#name = name;
    this.#pauseMs = pauseMs;
  }

  push(step) {
    this.#steps.push(step);
  }

  async all() {
    for (const step of this.#steps.splice(0).reverse()) {
      try {
        await step();
        await new Promise((done) => setTimeout(done, this.#pauseMs));
      } catch (error) {
        console.error(`${this.#name}: not undone: ${error.message}`);
      }
    }
  }

  /** Does so at a signal too, and exits. */
  onSignals() {
    for (const signal of ["SIGINT", "SIGTERM"]) {
      process.once(signal, async () => {
        await this.all();
        process.exit(1);
      });
    }
  }
}
