// What the help says of each command: here, so that it can be printed without the code of them all.

/** By name, in the order of the help: arguments, and what the command does. */
export const SUMMARIES = {
  analyze: [
    "[paths...]",
    "measure what compression would save on files, folders or the memory of processes",
  ],
  replay: [
    "<trace>",
    "run a trace of allocations and frees on pools, and print the page frames they hold",
  ],
  simulate: ["[traces...]", "compare the hit rates of eviction policies on traces of requests"],
  ctl: ["[keys...]", "print and change settings of a running daemon"],
  stats: ["", "print the statistics of a running daemon"],
  codecs: ["", "list the codecs and whether they are available on this machine"],
  pools: ["", "list the pools (allocators) and which of them are compared by default"],
  serve: ["", "serve memcached, block devices (with --nbd-size) and a web page in one process"],
  memcached: ["", "serve the memcached protocol, with memcached's own flags"],
  top: ["", "show live figures of a running daemon: memory, hits, operations; q quits"],
  attach: ["", "attach a compressed block device, as a disk or as swap (root, Linux)"],
  detach: [
    "[device...]",
    "detach devices: umount or swapoff, remove the block device, end its daemon",
  ],
  list: ["[device...]", "list attached devices, with the columns of zramctl"],
} as const;

export type CommandName = keyof typeof SUMMARIES;

/** What a command does. */
export function summaryOf(name: CommandName): string {
  return SUMMARIES[name][1];
}
