// Standard output, at the pace of whoever reads it; a reader that has gone (`| head`) is no error.

/** Makes a closed pipe end the program quietly. Once, before anything is written. */
export function quietOnClosedPipe(): void {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    process.exit(process.exitCode ?? 0);
  });
}

/** Writes text and waits until it has been handed on. */
export function write(text: string): Promise<void> {
  return new Promise((resolve) => {
    process.stdout.write(text, () => resolve());
  });
}
