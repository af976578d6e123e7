// Calls of the file system whose errors name the file and the place in it.
import { ZcacheError } from "../base/errors.ts";

/**
 * Calls `work` again while a signal interrupts it.
 * @throws ZcacheError ERR_IO for any other error, with the system's code in its context
 */
export function attemptIo<T>(path: string, offsetBytes: number, work: () => T): T {
  for (;;) {
    try {
      return work();
    } catch (cause) {
      const error = cause as NodeJS.ErrnoException;
      if (error.code !== "EINTR") throw ioError(path, offsetBytes, error);
    }
  }
}

/** @param cause what the system says; its code is EIO if it has none */
export function ioError(
  path: string,
  offsetBytes: number,
  cause: { readonly code?: string | undefined; readonly message: string },
): ZcacheError {
  const { code = "EIO", message } = cause;
  return new ZcacheError("ERR_IO", `${path}, at byte ${offsetBytes}: ${message}`, {
    context: { path, offsetBytes, code },
    cause,
  });
}
