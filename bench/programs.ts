// Finds programs of the system that benchmarks and tests run for comparison.
import { execFileSync } from "node:child_process";

export function has(program: string): boolean {
  try {
    execFileSync("sh", ["-c", `command -v ${program}`], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

/** Why a test is skipped, or false; with CI=true the test fails instead of being skipped. */
export function without(...programs: string[]): string | false {
  if (process.env["CI"] === "true") return false;
  const missing = programs.filter((program) => !has(program));
  return missing.length === 0 ? false : `${missing.join(", ")} not installed`;
}
