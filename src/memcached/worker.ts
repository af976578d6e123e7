// The module that a further thread of a server runs; see server.ts.
import { parentPort, workerData } from "node:worker_threads";
import { Counters } from "./items/counters.ts";
import { attachItems } from "./items/open.ts";
import type { FromWorker, ToWorker, WorkerTask } from "./server.ts";
import { errorsOf, ServerThread } from "./thread.ts";

const port = parentPort!;
const task = workerData as WorkerTask;

function tell(message: FromWorker): void {
  port.postMessage(message);
}

const counters = Counters.attach(task.share.counters, task.thread);
const errors = errorsOf(counters, (text) => tell({ type: "error", text }));
// A thread that ended would close the descriptor that all threads listen on.
const unit = `memcached: a task of thread ${task.thread}`;
process.on("uncaughtException", (error) => errors.report(unit, error));
process.on("unhandledRejection", (error) => errors.report(unit, error));

function obey(thread: ServerThread, message: ToWorker): void {
  if (message.type === "set") thread.set(message.name, message.value);
  else if (message.type === "refresh") thread.refreshFiles();
  else if (message.type === "watched") thread.connections.lookAtWatched();
  else if (message.type === "log") thread.watch.receive(message.records, message.from);
  else if (message.type === "detach") {
    thread.detach();
    tell({ type: "detached" });
  } else {
    // The main thread closes the descriptor.
    thread.connections.close(message.gracefully);
    tell({ type: "closed" });
  }
}

async function start(): Promise<void> {
  try {
    const { settings, share, endpoints, fds } = task;
    const thread = await ServerThread.start({
      ...{ settings, share, endpoints, fds, errors },
      shards: attachItems(task.items),
      thread: task.thread,
      shutdown: (graceful) => tell({ type: "shutdown", graceful }),
      tellOthers: tell,
    });
    port.on("message", (message: ToWorker) => {
      errors.run("memcached: a message of the main thread", () => obey(thread, message));
    });
    tell({ type: "listening" });
  } catch (error) {
    tell({ type: "failed", message: (error as Error).message });
  }
}

void start();
