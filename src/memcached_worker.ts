// What a further thread of the memcached server runs; see server/memcached/server.ts.
import { parentPort, workerData } from "node:worker_threads";
import { attachItemStore } from "./item_stores.ts";
import type { FromWorker, ToWorker, WorkerTask } from "./server/memcached/server.ts";
import { ServerThread } from "./server/memcached/thread.ts";

const port = parentPort!;
const task = workerData as WorkerTask;

function tell(message: FromWorker): void {
  port.postMessage(message);
}

try {
  const thread = await ServerThread.start({
    settings: task.settings,
    store: attachItemStore(task.store),
    thread: task.thread,
    share: task.share,
    endpoints: task.endpoints,
    fds: task.fds,
    shutdown: (graceful) => tell({ type: "shutdown", graceful }),
    tellOthers: tell,
  });
  port.on("message", (message: ToWorker) => {
    if (message.type === "set") thread.set(message.name, message.value);
    else if (message.type === "refresh") thread.refreshFiles();
    else if (message.type === "watched") thread.connections.lookAtWatched();
    else if (message.type === "log") thread.watch.receive(message.records, message.from);
    else {
      // The descriptor is the main thread's to close.
      thread.connections.close(message.gracefully);
      tell({ type: "closed" });
    }
  });
  tell({ type: "listening" });
} catch (error) {
  tell({ type: "failed", message: (error as Error).message });
}
