// The worker that serves NBD connections: it serves one server after the other, and never ends
// before the process does (why: server/nbd/borrowed_socket.ts).
import { parentPort } from "node:worker_threads";
import { ZcacheError } from "./base/errors.ts";
import { Zram } from "./front/zram.ts";
import { type Notice, type Order, type ServeOrder, ServingThread } from "./server/nbd/thread.ts";
import type { Store, StoreShare } from "./store/store.ts";
import { attachStore } from "./stores.ts";

const port = parentPort!;
const tell = (notice: Notice) => port.postMessage(notice);
let serving: ServingThread | undefined;

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
      store.tellNotes();
    }
    tell({ notice: "serves" });
    return thread;
  } catch (error) {
    if (!(error instanceof ZcacheError)) throw error;
    opened?.detach();
    tell({ notice: "failed", code: error.code, message: error.message });
    return undefined;
  }
}

async function obey(order: Order): Promise<void> {
  if (order.order === "serve") serving = await begin(order);
  else if (order.order === "take") serving?.take(order);
  else if (order.order === "tls") serving?.renew(order.tls);
  else if (serving === undefined) tell({ notice: "ended" });
  else {
    serving.end();
    serving = undefined;
  }
}

/** One order after the other: to begin may take a while. */
let obeyed = Promise.resolve();
port.on("message", (order: Order) => {
  obeyed = obeyed.then(() => obey(order));
});
