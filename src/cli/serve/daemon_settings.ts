// What can be set about the daemon itself.
import * as S from "./setting.ts";

export const DAEMON = {
  control: S.pathOrOff(
    "control socket, for `zcache ctl`, `stats` and `top` (default: one per user)",
  ),
  controlMode: S.mode("who may open the control socket", "600"),
};

export type DaemonValues = S.Values<typeof DAEMON>;
