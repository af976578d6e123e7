// The benchmarks of the remote tier that take a minute: pages through it, and gets beside it.
import { benchRemoteGets } from "./gets.ts";
import { benchRemotePages } from "./pages.ts";

export async function benchRemote({ tiny }: { readonly tiny: boolean }): Promise<void> {
  await benchRemotePages({ tiny });
  await benchRemoteGets({ tiny });
}
