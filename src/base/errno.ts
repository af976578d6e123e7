// Expected refusals are values, not exceptions: the kernel's negative error numbers, which no
// frame, address, handle or length can be mistaken for.

/** No such object: the handle is foreign, stale, already freed, or an argument makes no sense. */
export const EINVAL = -22;
/** The size is above what the pool can hold in one object. */
export const ENOSPC = -28;
/** No page frame is left. */
export const ENOMEM = -12;
/** The object is mapped, or it is being reclaimed by another thread. */
export const EBUSY = -16;
/** Nothing to do now: nothing can be reclaimed, or the callback refused. */
export const EAGAIN = -11;
/** What was to be done only under a condition was not done: the condition did not hold. */
export const ECANCELED = -125;

export type Errno =
  | typeof EINVAL
  | typeof ENOSPC
  | typeof ENOMEM
  | typeof EBUSY
  | typeof EAGAIN
  | typeof ECANCELED;

const NAMES: Readonly<Record<Errno, string>> = {
  [EINVAL]: "EINVAL",
  [ENOSPC]: "ENOSPC",
  [ENOMEM]: "ENOMEM",
  [EBUSY]: "EBUSY",
  [EAGAIN]: "EAGAIN",
  [ECANCELED]: "ECANCELED",
};

/** The name of an error number, for messages. */
export function errnoName(errno: Errno): string {
  return NAMES[errno];
}
