// What can be set about the web page: dashboard and metrics.
import * as S from "./setting.ts";

const PORT = 8080;

export const WEB = {
  enabled: S.toggle("serve the dashboard and /metrics", true, {
    off: "no dashboard and no /metrics",
    flag: "web",
  }),
  listen: S.address("TCP address to listen on", `127.0.0.1:${PORT}`, PORT),
  hostname: S.list("name", "a name under which browsers may come, besides addresses", String),
  tokenFile: S.text(
    "file",
    "a file with a token: who knows it may set knobs from the page (default: nobody may)",
    undefined,
  ),
};

export type WebValues = S.Values<typeof WEB>;
