// A service of the daemon as metrics and the web page see it. Whoever starts the service makes one
// (../../observed.ts does for a store); the web server knows nothing of stores.
import type { Choices, FrameMap, ServicePicture, Sizes, WhatIf } from "../dashboard/api.ts";

export interface Observed {
  /** Unique among the services of a daemon: a letter, then letters, digits, `-`, `_`, `.`. */
  readonly name: string;
  readonly kind: string;
  /** One consistent picture, cheap: it may be asked for several times a second. */
  picture(): ServicePicture;
  /**
   * Page frames [from, to) in at most `cellsMax` cells. In steps between which others go on.
   * @param to more than there are stands for all
   */
  frames(from: number, to: number, cellsMax: number): Promise<FrameMap>;
  /** Stored sizes, in such steps. */
  sizes(): Promise<Sizes>;
  choices(): Choices;
  /**
   * What a sample of the live content would take with another codec and another pool: off the
   * threads that serve.
   * @throws ZcacheError ERR_OPTION for a name that is not among the choices
   */
  whatIf(codec: string, pool: string): Promise<WhatIf>;
  /** Ends what is under way. */
  close(): Promise<void>;
}
