/* The reference LZ4 library with an external dictionary, for the tests: lz4_dictionary c|d
 *
 * Standard input, numbers of 32 bits in the machine's order: the dictionary's size, the dictionary,
 * then for each object its size, the size that it gives at most, and its bytes. Standard output: for
 * each object the size that it gives, and the bytes; a size of -1 where it is refused. */
#include <lz4.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static char dictionary[65536], object[1 << 17], result[1 << 17];

static int read_number(int32_t *number)
{
    return fread(number, sizeof *number, 1, stdin) == 1;
}

int main(int argc, char **argv)
{
    int compresses = argc == 2 && strcmp(argv[1], "c") == 0;
    int32_t known, size, limit;
    if (!read_number(&known) || known > (int32_t)sizeof dictionary
        || fread(dictionary, 1, known, stdin) != (size_t)known)
        return 2;
    LZ4_stream_t *stream = LZ4_createStream();
    while (read_number(&size)) {
        int32_t given;
        if (!read_number(&limit) || size > (int32_t)sizeof object || limit > (int32_t)sizeof result
            || fread(object, 1, size, stdin) != (size_t)size)
            return 2;
        if (compresses) {
            LZ4_loadDict(stream, dictionary, known);
            given = LZ4_compress_fast_continue(stream, object, result, size, limit, 1);
        } else {
            given = LZ4_decompress_safe_usingDict(object, result, size, limit, dictionary, known);
        }
        if (given < 0)
            given = -1;
        fwrite(&given, sizeof given, 1, stdout);
        if (given > 0)
            fwrite(result, 1, given, stdout);
    }
    LZ4_freeStream(stream);
    return 0;
}
