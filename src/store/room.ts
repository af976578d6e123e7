// Where a store that has reached its limit may get a higher one: a contract that shard/quota.ts
// implements for the shards of one store.

export interface RoomSource {
  /**
   * Raises the limit of this store if little of it is free and others have room to spare. Called
   * before each put, without any lock.
   */
  beforePut(): void;
  /**
   * Raises the limit for a put that would be refused otherwise. Called without any lock.
   * @returns whether the limit is higher now
   */
  raise(): boolean;
}
