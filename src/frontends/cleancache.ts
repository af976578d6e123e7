// cleancache: a second chance for clean pages of files that the system forgets. What is put here
// may be gone when it is asked for, and costs then no more than reading the file, as before.
//
// The kernel's door (until 5.17), one step for one: file systems announce themselves, private ones
// or those that several machines share by a UUID; a get from a private one takes the page out, as
// the page is then in the system's own cache again. An inode is named by up to 24 bytes, its pages
// by 64-bit numbers, of which nothing is cut off.
import { ZcacheError } from "../base/errors.ts";
import type { Store } from "../store/store.ts";
import { TmemKey } from "../tmem/key.ts";

/** Counters by the kernel's names. */
export interface CleancacheStats {
  readonly succ_gets: number;
  readonly failed_gets: number;
  readonly puts: number;
  readonly invalidates: number;
}

/** A file system's inode: a number, or up to 24 bytes where numbers are not unique. */
export type FileKey = number | bigint | Uint8Array;

export class Cleancache {
  readonly #store: Store;
  readonly #key = new TmemKey();
  #succGets = 0;
  #failedGets = 0;
  #puts = 0;
  #invalidates = 0;

  constructor(store: Store) {
    this.#store = store;
  }

  /**
   * Announces a file system.
   * @param pageSize bytes of its pages: the store's
   * @returns the number to name it by; negative (an Errno) if there are too many
   * @throws ZcacheError ERR_OPTION for another page size
   */
  initFs(pageSize: number): number {
    this.#checkPageSize(pageSize);
    return this.#store.createPool();
  }

  /** As `initFs`, for a file system that all who name its 16 bytes share. */
  initSharedFs(uuid: Uint8Array, pageSize: number): number {
    this.#checkPageSize(pageSize);
    return this.#store.createPool({ uuid });
  }

  /** Restores a page. @returns whether it was there; from a private file system it is gone then */
  getPage(fs: number, file: FileKey, index: number | bigint, page: Uint8Array): boolean {
    const key = this.#key.setObject(file).setIndex(index);
    // The store knows, whoever announced the file system, in whatever thread.
    const found = this.#store.get(fs, key, page, !this.#store.isShared(fs));
    if (found) this.#succGets++;
    else this.#failedGets++;
    return found;
  }

  /** Takes a clean page that the system is about to forget; or does not, and says nothing. */
  putPage(fs: number, file: FileKey, index: number | bigint, page: Uint8Array): void {
    this.#puts++;
    this.#store.put(fs, this.#key.setObject(file).setIndex(index), page);
  }

  /**
   * A page of the file has changed, or is in the system's cache: what is here is not to be used.
   */
  invalidatePage(fs: number, file: FileKey, index: number | bigint): void {
    this.#invalidates++;
    this.#store.flush(fs, this.#key.setObject(file).setIndex(index));
  }

  /** All pages of a file: it was cut off or removed. */
  invalidateInode(fs: number, file: FileKey): void {
    this.#invalidates++;
    this.#store.flushObject(fs, this.#key.setObject(file).setIndex(0));
  }

  /**
   * All files of a file system: it was unmounted. What others share by a UUID stays until the last
   * of them has unmounted it.
   */
  invalidateFs(fs: number): void {
    this.#invalidates++;
    this.#store.destroyPool(fs);
  }

  /** What this thread has done. */
  stats(): CleancacheStats {
    return {
      succ_gets: this.#succGets,
      failed_gets: this.#failedGets,
      puts: this.#puts,
      invalidates: this.#invalidates,
    };
  }

  #checkPageSize(pageSize: number): void {
    const { pageSize: wanted } = this.#store;
    if (pageSize === wanted) return;
    throw new ZcacheError("ERR_OPTION", `pages of ${pageSize} bytes: the store has ${wanted}`);
  }
}
