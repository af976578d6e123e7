// Tells systemd how far the daemon is, where systemd has started it with Type=notify. Node has no
// datagram sockets of the Unix kind, so systemd's own program says it.
import { spawn } from "node:child_process";

const NOTIFY_MS = 5000;

/** @param state such as `--ready` or `--stopping`, as `systemd-notify` takes it */
export async function notifySystemd(...state: string[]): Promise<void> {
  if (process.env["NOTIFY_SOCKET"] === undefined) return;
  await new Promise<void>((resolve) => {
    const child = spawn("systemd-notify", [`--pid=${process.pid}`, ...state], {
      stdio: "ignore",
      timeout: NOTIFY_MS,
    });
    // Without the program systemd waits for nothing longer than its own time limit.
    child.once("error", () => resolve());
    child.once("exit", () => resolve());
  });
}
