/* The yardstick: the reference LZ4 library on the same pages, in the same run, without JavaScript.
 *
 *   lz4_native FILE PAGE_SIZE ROUNDS
 *
 * Compresses and restores every page of FILE, ROUNDS times, each page checked once. Prints one line
 * of seven numbers: mean, p50 and p99 of compress, the same of decompress, in ns per page, and the
 * total of compressed bytes. A mean is that of the fastest round, timed as a whole; the percentiles come from
 * one more pass with a clock around every page, and so contain the clock's own 20 to 30 ns. */
#include <lz4.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint8_t *pages;      /* the file */
static uint8_t *compressed; /* a slot of `bound` bytes per page */
static uint8_t *restored;   /* one page */
static int *sizes;          /* compressed size of each page */
static double *samples;     /* ns of each page, for percentiles */
static int page_size, page_count, bound;

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e9 + now.tv_nsec;
}

static void compress_page(int page)
{
    sizes[page] = LZ4_compress_default((const char *)pages + (size_t)page * page_size,
                                       (char *)compressed + (size_t)page * bound, page_size, bound);
}

static void decompress_page(int page)
{
    int size = LZ4_decompress_safe((const char *)compressed + (size_t)page * bound,
                                   (char *)restored, sizes[page], page_size);
    if (size != page_size) {
        fprintf(stderr, "page %d does not come back\n", page);
        exit(1);
    }
}

/* ns per page of one pass over all pages. */
static double time_pass(void (*work)(int))
{
    double start = now_ns();
    for (int page = 0; page < page_count; page++)
        work(page);
    return (now_ns() - start) / page_count;
}

static int ascending(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static void measure(void (*work)(int), int rounds)
{
    double mean = time_pass(work);
    for (int round = 1; round < rounds; round++) {
        double again = time_pass(work);
        if (again < mean)
            mean = again;
    }
    for (int page = 0; page < page_count; page++) {
        double start = now_ns();
        work(page);
        samples[page] = now_ns() - start;
    }
    qsort(samples, page_count, sizeof *samples, ascending);
    printf("%.1f %.1f %.1f ", mean, samples[page_count / 2], samples[page_count * 99 / 100]);
}

static void read_pages(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0) {
        perror(path);
        exit(1);
    }
    page_count = (int)(ftell(file) / page_size);
    rewind(file);
    pages = malloc((size_t)page_count * page_size);
    if (page_count < 1 || !pages
        || fread(pages, page_size, page_count, file) != (size_t)page_count) {
        fprintf(stderr, "%s: no whole page to be read\n", path);
        exit(1);
    }
    fclose(file);
}

int main(int argc, char **argv)
{
    int rounds = argc == 4 ? atoi(argv[3]) : 0;
    page_size = argc == 4 ? atoi(argv[2]) : 0;
    if (page_size < 1 || rounds < 1) {
        fprintf(stderr, "usage: lz4_native FILE PAGE_SIZE ROUNDS\n");
        return 2;
    }
    read_pages(argv[1]);
    bound = LZ4_compressBound(page_size);
    compressed = malloc((size_t)page_count * bound);
    restored = malloc(page_size);
    sizes = malloc(page_count * sizeof *sizes);
    samples = malloc(page_count * sizeof *samples);
    if (!compressed || !restored || !sizes || !samples) {
        fprintf(stderr, "out of memory\n");
        return 1;
    }
    long total = 0;
    for (int page = 0; page < page_count; page++) {
        compress_page(page);
        decompress_page(page);
        if (memcmp(restored, pages + (size_t)page * page_size, page_size) != 0) {
            fprintf(stderr, "page %d comes back different\n", page);
            return 1;
        }
        total += sizes[page];
    }
    measure(compress_page, rounds);
    measure(decompress_page, rounds);
    printf("%ld\n", total);
    return 0;
}
