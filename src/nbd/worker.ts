// The worker that serves NBD connections, of one server after another. It does not end before the
// process does; shared_fd_socket.ts says why.
import { parentPort } from "node:worker_threads";
import { ZcacheError } from "../base/errors.ts";
import { attachStore } from "../node/stores.ts";
import type { Store, StoreShare } from "../store/store.ts";
import { Zram } from "../zram/zram.ts";
import { errorNotice, type Notice, type Order, type ServeOrder, ServingThread } from "./thread.ts";

const port = parentPort!;
const send = (notice: Notice) => port.postMessage(notice);
let serving: ServingThread | undefined;

// A thread that ends closes the descriptors that it has served, even if another connection has them
// by then. So an uncaught error ends the task in which it was thrown, and not the thread.
const report = (error: unknown) => send(errorNotice("nbd: a task of a thread", error));
process.on("uncaughtException", report);
process.on("unhandledRejection", report);

async function begin(order: ServeOrder): Promise<ServingThread | undefined> {
  let opened: Store | undefined;
  try {
    const store = attachStore(order.store as StoreShare);
    opened = store;
    const devices = order.exports.map((one) => Zram.attach(store, one.device));
    const thread = new ServingThread(order, { devices, close: () => store.detach() }, send);
    const { warmUp } = order;
    if (warmUp !== undefined) {
      await thread.warmUp(Zram.attach(store, warmUp.device), warmUp.ms);
      store.flushReadBuffer();
    }
    send({ notice: "serving" });
    return thread;
  } catch (error) {
    const isExpected = error instanceof ZcacheError;
    if (!isExpected) send(errorNotice("nbd: the start of a thread", error));
    opened?.detach();
    const code = isExpected ? error.code : "ERR_INTERNAL";
    send({ notice: "failed", code, message: String((error as Error).message) });
    return undefined;
  }
}

async function execute(order: Order): Promise<void> {
  if (order.order === "serve") serving = await begin(order);
  else if (order.order === "take") serving?.take(order);
  else if (order.order === "tls") serving?.renew(order.tls);
  else if (order.order === "give way") serving?.giveWay(order.connection);
  else if (order.order === "abort") serving?.abort(order.connection);
  else if (serving === undefined) send({ notice: "ended" });
  else {
    serving.end();
    serving = undefined;
  }
}

/** Orders are executed one after another: the first may take a while. */
let last = Promise.resolve();
port.on("message", (order: Order) => {
  last = last.then(() => execute(order)).catch(report);
});
