// A put that waits while pages leave for the remote tier, instead of being refused.
import { ENOMEM, ENOSPC, type Errno } from "../base/errno.ts";
import { isSendingOut } from "./remote_page.ts";
import type { StoreState } from "./state.ts";

const NS_PER_MS = 1e6;

/**
 * @param put stores the page  @returns as `put`, once it does not refuse the page, no page is
 *   leaving, or the remote tier's `timeoutMs` are over
 */
export async function putWhenRoom(state: StoreState, put: () => 0 | Errno): Promise<0 | Errno> {
  const { clock } = state.platform;
  const signs = state.roomSigns;
  const endNs = clock.nowNs() + (state.options.remote?.timeoutMs ?? 0) * NS_PER_MS;
  for (;;) {
    const count = signs?.count ?? 0;
    const result = put();
    if (result !== ENOMEM && result !== ENOSPC) return result;
    if (signs === undefined || !isSendingOut(state) || clock.nowNs() >= endNs) return result;
    await signs.changed(count);
    state.assertOpen();
  }
}
