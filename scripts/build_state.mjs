// Whether a build is current, and one build at a time.
//
// A build bears a fingerprint of all that it was made from. Contents count and times do not, so a
// checkout, a copy or a touched file causes no build, and a deleted file does.
import { createHash } from "node:crypto";
import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

export const root = join(dirname(fileURLToPath(import.meta.url)), "..");
/** The file of a build that holds its fingerprint: written last. */
const STAMP = ".built";
const INPUT_FOLDERS = ["src", "test", "bench"];
const INPUT_FILES = [
  "package-lock.json",
  "scripts/build.mjs",
  "scripts/build_state.mjs",
  "scripts/embed.mjs",
  "scripts/zstd_notice.txt",
  "tsconfig.json",
];
/** Sources that the build writes itself. */
const isMade = (path) => path.endsWith(".binary.ts");
const POLL_MS = 50;

/** All files below a folder, as paths from the root. */
export function filesBelow(folder) {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? filesBelow(path) : [path];
  });
}

/** A hash of the names and contents of all that a build is made from. */
export function fingerprint() {
  const hash = createHash("sha256");
  const found = INPUT_FOLDERS.flatMap(filesBelow).filter((path) =>
    /\.(ts|html|css|json)$/.test(path),
  );
  for (const path of [...found.filter((path) => !isMade(path)), ...INPUT_FILES].sort()) {
    const content = readFileSync(join(root, path));
    hash.update(`${path}\0${content.length}\0`).update(content);
  }
  return hash.digest("hex");
}

export function stamp(folder, print) {
  writeFileSync(join(folder, STAMP), print);
}

/** Whether `dist/` was made from what `print` is the fingerprint of. */
export function isBuilt(print) {
  try {
    return readFileSync(join(root, "dist", STAMP), "utf8") === print;
  } catch {
    return false;
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
}

/** Removes what builds whose processes have ended have left in `build/`: `dist-PID` and such. */
function removeLeftovers(folder) {
  for (const name of readdirSync(folder)) {
    const pid = /^(?:dist|old|lock)-(\d+)$/.exec(name)?.[1];
    if (pid !== undefined && !isAlive(Number(pid))) {
      rmSync(join(folder, name), { recursive: true, force: true });
    }
  }
}

/**
 * Calls `work` while no other build of this clone does. Waits for a build that is running; a lock
 * whose process has ended is taken over.
 * @param work gets a folder for what it makes, on the file system of `dist/`
 */
export async function alone(work) {
  const folder = join(root, "build");
  mkdirSync(folder, { recursive: true });
  removeLeftovers(folder);
  const mine = join(folder, `lock-${process.pid}`);
  const lock = join(folder, "lock");
  // A link appears with its content, so that nobody reads a lock without an owner.
  writeFileSync(mine, String(process.pid));
  try {
    for (;;) {
      try {
        linkSync(mine, lock);
        break;
      } catch (error) {
        if (error.code !== "EEXIST") throw error;
      }
      await waitForOwner(lock);
    }
    try {
      await work(folder);
    } finally {
      rmSync(lock, { force: true });
    }
  } finally {
    rmSync(mine, { force: true });
  }
}

async function waitForOwner(lock) {
  let owner;
  try {
    owner = Number(readFileSync(lock, "utf8"));
  } catch {
    return; // It was just removed.
  }
  if (isAlive(owner)) await sleep(POLL_MS);
  else rmSync(lock, { force: true });
}
