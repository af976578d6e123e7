// cleancache, a frontend: a second chance for clean pages of files that the system drops. A page
// that was put may be gone when it is requested; the caller then reads the file, as without a
// cache.
//
//   cleancache.ts   ephemeral pages of files
//   frontswap.ts    persistent pages of swap areas
//   zswap.ts        frontswap with write-back to a swap file
//
// It follows the kernel's interface (until 5.17). File systems register, as private ones or as ones
// that several machines share by a UUID. A get from a private file system removes the page, because
// it is then in the system's own cache. An inode is named by up to 24 bytes, its pages by 64-bit
// numbers; nothing is truncated.
//
// Concurrency: each thread has an object of its own over its own Store.
import { ZcacheError } from "../base/errors.ts";
import type { Store } from "../store/store.ts";
import { TmemKey } from "../tmem/key.ts";

/** Counters of this object, by the kernel's names. */
export interface CleancacheStats {
  readonly succ_gets: number;
  readonly failed_gets: number;
  readonly puts: number;
  readonly invalidates: number;
}

/** An inode of a file system: a number, or up to 24 bytes if numbers are not unique. */
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
   * Registers a file system.
   * @param pageSize bytes of its pages, which must be the store's page size
   * @returns its number; a negative Errno if there are too many
   * @throws ZcacheError ERR_OPTION for another page size
   */
  initFs(pageSize: number): number {
    this.#checkPageSize(pageSize);
    return this.#store.createPool();
  }

  /** As `initFs`, for a file system that is shared by all who pass its 16-byte UUID. */
  initSharedFs(uuid: Uint8Array, pageSize: number): number {
    this.#checkPageSize(pageSize);
    return this.#store.createPool({ uuid });
  }

  /**
   * Loads a page, and removes it if the file system is private.
   * @returns whether it was stored
   */
  getPage(fs: number, file: FileKey, index: number | bigint, page: Uint8Array): boolean {
    const key = this.#key.setObject(file).setIndex(index);
    // The store knows which file systems are shared, even if another thread has registered them.
    const found = this.#store.get(fs, key, page, !this.#store.isShared(fs));
    if (found) this.#succGets++;
    else this.#failedGets++;
    return found;
  }

  /** Stores a clean page that the system is about to drop, if there is room. */
  putPage(fs: number, file: FileKey, index: number | bigint, page: Uint8Array): void {
    this.#puts++;
    this.#store.put(fs, this.#key.setObject(file).setIndex(index), page);
  }

  /** Removes a page, because it has changed or is in the system's cache. */
  invalidatePage(fs: number, file: FileKey, index: number | bigint): void {
    this.#invalidates++;
    this.#store.flush(fs, this.#key.setObject(file).setIndex(index));
  }

  /** Removes all pages of a file, because it was truncated or removed. */
  invalidateInode(fs: number, file: FileKey): void {
    this.#invalidates++;
    this.#store.flushObject(fs, this.#key.setObject(file).setIndex(0));
  }

  /**
   * Removes all pages of a file system, because it was unmounted. Pages of a shared file system
   * stay until the last client has unmounted it.
   */
  invalidateFs(fs: number): void {
    this.#invalidates++;
    this.#store.destroyPool(fs);
  }

  /** Counters of this object. */
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
