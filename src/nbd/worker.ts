// The worker that serves NBD connections: it serves one server after the other, and never ends
// before the process does (why: nbd/shared_fd_socket.ts).
import { parentPort } from "node:worker_threads";
import { ZcacheError } from "../base/errors.ts";
import { attachStore } from "../node/stores.ts";
import type { Store, StoreShare } from "../store/store.ts";
import { Zram } from "../zram/zram.ts";
import { errorNotice, type Notice, type Order, type ServeOrder, ServingThread } from "./thread.ts";

const port = parentPort!;
const tell = (notice: Notice) => port.postMessage(notice);
let serving: ServingThread | undefined;

// A thread that ends closes the descriptors that it has served, whoever has them by then: what
// nobody has caught ends the task in which it was thrown, and not the thread.
const report = (error: unknown) => tell(errorNotice("nbd: a task of a thread", error));
process.on("uncaughtException", report);
process.on("unhandledRejection", report);

async function begin(order: ServeOrder): Promise<ServingThread | undefined> {
  let opened: Store | undefined;
  try {
    const store = attachStore(order.store as StoreShare);
    opened = store;
    const devices = order.exports.map((one) => Zram.attach(store, one.device));
    const thread = new ServingThread(order, { devices, close: () => store.detach() }, tell);
    const { practice } = order;
    if (practice !== undefined) {
      await thread.practise(Zram.attach(store, practice.device), practice.ms);
      store.flushReadBuffer();
    }
    tell({ notice: "serves" });
    return thread;
  } catch (error) {
    const isExpected = error instanceof ZcacheError;
    if (!isExpected) tell(errorNotice("nbd: the start of a thread", error));
    opened?.detach();
    const code = isExpected ? error.code : "ERR_INTERNAL";
    tell({ notice: "failed", code, message: String((error as Error).message) });
    return undefined;
  }
}

async function obey(order: Order): Promise<void> {
  if (order.order === "serve") serving = await begin(order);
  else if (order.order === "take") serving?.take(order);
  else if (order.order === "tls") serving?.renew(order.tls);
  else if (order.order === "give way") serving?.giveWay(order.connection);
  else if (order.order === "abort") serving?.abort(order.connection);
  else if (serving === undefined) tell({ notice: "ended" });
  else {
    serving.end();
    serving = undefined;
  }
}

/** One order after the other: to begin may take a while. */
let obeyed = Promise.resolve();
port.on("message", (order: Order) => {
  obeyed = obeyed.then(() => obey(order)).catch(report);
});
