// Expected refusals are values, not exceptions: the kernel's negative error numbers, which can't be
// mistaken for a frame, address, handle or length.

/** No such object: the handle is foreign, stale or already freed, or an argument is invalid. */
export const EINVAL = -22;
/** The size exceeds the largest object of the pool. */
export const ENOSPC = -28;
/** No page frame is free. */
export const ENOMEM = -12;
/** The object is mapped, or another thread is reclaiming it. */
export const EBUSY = -16;
/** Nothing can be reclaimed, or the callback refused. */
export const EAGAIN = -11;
/** The condition of a conditional operation did not hold. */
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
