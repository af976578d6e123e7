// The worker that `startMaintainer` starts: it serves one store until that is closed.
import { workerData } from "node:worker_threads";
import { attachStore } from "./stores.ts";

attachStore(workerData).serve();
