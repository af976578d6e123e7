// The worker of `startMaintainer`: it maintains one store until the store is closed.
import { workerData } from "node:worker_threads";
import { attachStore } from "./stores.ts";

attachStore(workerData).serve();
