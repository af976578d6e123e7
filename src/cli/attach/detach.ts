// `zcache detach`: ends attached devices.

import { Command } from "commander";
import { ZcacheError } from "../../base/errors.ts";
import { complain } from "../exit.ts";
import { summaryOf } from "../summaries.ts";
import { contextUntilSignal } from "./command.ts";
import { detachDevice, findDevice } from "./detach_device.ts";

interface Args {
  readonly all?: true;
  readonly force?: true;
}

async function detach(names: readonly string[], { all, force }: Args): Promise<void> {
  if (names.length > 0 === (all === true)) {
    throw new ZcacheError("ERR_OPTION", "detach: name devices, or give --all");
  }
  await contextUntilSignal(async (context) => {
    const ids = all
      ? context.states.ids()
      : [...new Set(names.map((name) => findDevice(context, name)))];
    let failure: unknown;
    for (const id of ids) {
      try {
        await detachDevice(context, id, { force: force === true });
      } catch (error) {
        if (!(error instanceof ZcacheError)) throw error;
        // The others are detached all the same.
        if (failure !== undefined) complain((failure as ZcacheError).message);
        failure = error;
      }
    }
    if (failure !== undefined) throw failure;
  });
}

export function detachCommand(): Command {
  return new Command("detach")
    .description(summaryOf("detach"))
    .argument("[device...]", "block device, mount point or ID")
    .option("--all", "detach all devices")
    .option("--force", "detach even if swapped pages have no room or are lost; kill what hangs")
    .action(detach);
}
