// The web server of the daemon: the page, its figures as JSON, and Prometheus's metrics.
import type { Knob } from "../control.ts";
import type { Observed } from "./observed.ts";

export interface WebOptions {
  /** Where to listen (default 127.0.0.1). */
  readonly host?: string;
  /** 0: any free one. */
  readonly port: number;
  readonly observed: readonly Observed[];
  /** Further names under which browsers may come; `*` for any. Addresses and localhost always may. */
  readonly hostnames?: readonly string[];
  /** Who knows it may set knobs; without it, nothing can be set. At least 16 characters. */
  readonly token?: string;
  readonly knobs?: readonly Knob[];
  /** Version of the program, for the page. */
  readonly version?: string;
}

export class WebServer {
  /** Where browsers find it: `http://127.0.0.1:8080/`. */
  readonly url: string;

  private constructor(url: string) {
    this.url = url;
  }

  /** @throws ZcacheError ERR_OPTION for options that can't be, ERR_IO: it can't listen there */
  static async start(options: WebOptions): Promise<WebServer> {
    return new WebServer(`http://${options.host ?? "127.0.0.1"}:${options.port}/`);
  }

  async close(): Promise<void> {}
}
