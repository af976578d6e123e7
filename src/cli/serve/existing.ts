// The setting that says what becomes of files that are there at the start.
import * as S from "./setting.ts";

/** A setting `existing`, of the files of one service. */
export const existingSetting = S.choice(
  "what to do with files that are there",
  "recover",
  ["recover", "discard"],
  "what",
);

/** As the option of a write-back file has it, whose content is never recovered. */
export function reuseOf(existing: "recover" | "discard"): "reuse" | "discard" {
  return existing === "discard" ? "discard" : "reuse";
}
