// Where a daemon and those who control it find each other.
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Where a daemon listens for control if nothing else is said; one per user. */
export function defaultControlPath(): string {
  const folder = process.env["XDG_RUNTIME_DIR"] ?? tmpdir();
  return join(folder, `zcache-${process.getuid?.() ?? 0}.ctl`);
}
