// SIGHUP: applies the changes of a configuration that need no restart. All changes are checked
// before any is applied, so a bad file changes nothing.
import { ZcacheError } from "../../base/errors.ts";
import { type Config, changesBetween } from "./config.ts";
import { NEEDS_RESTART, type Prepared, type Service } from "./service.ts";

/**
 * Applies the differences between two configurations to running services.
 * @returns lines for the user: what has changed, and what needs a restart
 * @throws ZcacheError if a value can't be applied; then nothing has changed
 */
export function reload(services: readonly Service[], before: Config, wanted: Config): string[] {
  const lines: string[] = [];
  const commits: (() => void)[] = [];
  for (const { section, name, path, value } of changesBetween(before, wanted)) {
    const service = services.find((one) => one.name === section);
    // Of a service that does not run, only settings that would start it are reported.
    if (service === undefined && section !== "" && name !== "enabled" && !startsDevices(name)) {
      continue;
    }
    const prepared: Prepared = service?.prepare(name, value) ?? NEEDS_RESTART;
    if ("commit" in prepared) {
      commits.push(prepared.commit);
      lines.push(`reload: ${path} is now ${JSON.stringify(value ?? null)}`);
    } else lines.push(`reload: ${path} is unchanged: ${prepared.restart}`);
  }
  for (const service of services) {
    for (const { what, commit } of service.refresh()) {
      commits.push(commit);
      lines.push(`reload: ${service.name}: ${what}`);
    }
  }
  commitAll(commits);
  return lines.length > 0 ? lines : ["reload: no changes"];
}

/** Whether a setting of [nbd] defines devices; without any, block devices are not served. */
function startsDevices(name: string): boolean {
  return name === "size" || name === "export";
}

/**
 * Two limits that depend on each other can't be set in any order, so a refused change is tried
 * again after the others. The configuration as a whole has been checked before.
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
