// A thread that does nothing but look at the clock: its longest gap is what the machine itself
// does to a thread.
import { parentPort } from "node:worker_threads";

/** Longest gap without a message. */
const LOOK_MS = 1;

if (parentPort !== null) {
  const port = parentPort;
  let worstMs = 0;
  let lastMs = performance.now();
  setInterval(() => {
    const nowMs = performance.now();
    worstMs = Math.max(worstMs, nowMs - lastMs - LOOK_MS);
    lastMs = nowMs;
  }, LOOK_MS);
  port.on("message", () => {
    port.postMessage(worstMs);
    worstMs = 0;
  });
}
