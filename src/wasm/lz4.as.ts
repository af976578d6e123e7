export function lz4Compress(source: usize, size: u32, target: usize, limit: u32, table: usize): u32 { return 0; }
export function lz4Decompress(source: usize, size: u32, target: usize, capacity: u32): i32 { return -1; }
