/* Needs more memory than the guest has: writes a pattern into every page that says which page it
 * is and how often it was written, rewrites pages at random, and verifies all of them. Half of a
 * page is noise, so that what is swapped out has to be compressed really. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { PAGE_WORDS = 1024, REWRITES = 2000 };

static void fill(uint32_t *page, uint32_t number, uint32_t round) {
  uint32_t state = number * 2654435761u + round * 40503u + 1;
  for (int i = 0; i < PAGE_WORDS; i++) {
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    page[i] = i < PAGE_WORDS / 2 ? state : number;
  }
}

static int differs(const uint32_t *page, uint32_t number, uint32_t round) {
  uint32_t expected[PAGE_WORDS];
  fill(expected, number, round);
  for (int i = 0; i < PAGE_WORDS; i++) {
    if (page[i] != expected[i]) {
      printf("guest: page %u word %d is %08x, not %08x\n", number, i, page[i], expected[i]);
      return 1;
    }
  }
  return 0;
}

int main(int argc, char **argv) {
  uint32_t pages = (argc > 1 ? atoi(argv[1]) : 0) * 256u;
  uint32_t *memory = mmap(NULL, (size_t)pages * 4096, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  uint8_t *rounds = calloc(pages, 1);
  if (pages == 0 || memory == MAP_FAILED || rounds == NULL) return 2;
  for (uint32_t n = 0; n < pages; n++) fill(memory + (size_t)n * PAGE_WORDS, n, 0);
  uint32_t state = 1, wrong = 0;
  for (int i = 0; i < REWRITES; i++) {
    state = state * 1664525u + 1013904223u;
    uint32_t n = (state >> 8) % pages;
    wrong += differs(memory + (size_t)n * PAGE_WORDS, n, rounds[n]);
    rounds[n]++;
    fill(memory + (size_t)n * PAGE_WORDS, n, rounds[n]);
  }
  for (uint32_t n = 0; n < pages; n++) {
    wrong += differs(memory + (size_t)n * PAGE_WORDS, n, rounds[n]);
  }
  printf("guest: %u pages verified, %u wrong\n", pages, wrong);
  return wrong != 0;
}
