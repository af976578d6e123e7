// SIGHUP: what the configuration says anew, as far as it can be had without a restart. All of it is
// looked at before any of it counts, so that a bad file changes nothing.
import { ZcacheError } from "../../base/errors.ts";
import { type Config, changesBetween } from "./config.ts";
import type { Prepared, Service } from "./service.ts";

/**
 * Makes services work as `wanted` says.
 * @returns lines that say what has changed, and what needs a restart
 * @throws ZcacheError where something can't be; then nothing has changed
 */
export function reload(services: readonly Service[], before: Config, wanted: Config): string[] {
  const lines: string[] = [];
  const commits: (() => void)[] = [];
  for (const { section, name, path, value } of changesBetween(before, wanted)) {
    const service = services.find((one) => one.name === section);
    // Of a service that does not run, only being switched on is news.
    if (service === undefined && section !== "" && name !== "enabled" && !startsDevices(name)) {
      continue;
    }
    const prepared: Prepared = service?.prepare(name, value) ?? { restart: "it needs a restart" };
    if ("commit" in prepared) {
      commits.push(prepared.commit);
      lines.push(`reload: ${path} is ${JSON.stringify(value ?? null)} now`);
    } else lines.push(`reload: ${path} is not changed: ${prepared.restart}`);
  }
  for (const service of services) {
    for (const { what, commit } of service.refresh()) {
      commits.push(commit);
      lines.push(`reload: ${service.name}: ${what}`);
    }
  }
  commitAll(commits);
  return lines.length > 0 ? lines : ["reload: nothing is new"];
}

/** Without a size, block devices are not served. */
function startsDevices(name: string): boolean {
  return name === "size" || name === "export";
}

/**
 * Two limits that depend on each other can't be set in any order: what is refused is tried again
 * after the others. All together has been checked.
 */
function commitAll(commits: readonly (() => void)[]): void {
  let left = [...commits];
  while (left.length > 0) {
    const refused: (() => void)[] = [];
    let why: unknown;
    for (const commit of left) {
      try {
        commit();
      } catch (error) {
        if (!(error instanceof ZcacheError)) throw error;
        refused.push(commit);
        why = error;
      }
    }
    if (refused.length === left.length) throw why;
    left = refused;
  }
}
