/* need_much MIB [SECONDS]: needs more memory than it gets. Writes a pattern into every page that
 * says which page it is and how often it was written, touches pages at random, each verified and
 * one of four rewritten, and verifies all of them in the end. Half of a page is noise, so that what
 * is swapped out has to be compressed really. With SECONDS the touches last so long. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

enum { PAGE_WORDS = 1024, TOUCHES = 8000, TOUCHES_BETWEEN_LOOKS = 64 };

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

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec + time.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
  uint32_t pages = (argc > 1 ? atoi(argv[1]) : 0) * 256u;
  double seconds = argc > 2 ? atof(argv[2]) : 0;
  uint32_t *memory = mmap(NULL, (size_t)pages * 4096, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  uint8_t *rounds = calloc(pages, 1);
  if (pages == 0 || memory == MAP_FAILED || rounds == NULL) return 2;
  for (uint32_t n = 0; n < pages; n++) fill(memory + (size_t)n * PAGE_WORDS, n, 0);
  uint32_t state = 1, wrong = 0, touches = 0;
  double begin = now();
  for (; seconds == 0 ? touches < TOUCHES : 1; touches++) {
    if (seconds > 0 && touches % TOUCHES_BETWEEN_LOOKS == 0 && now() - begin >= seconds) break;
    state = state * 1664525u + 1013904223u;
    uint32_t n = (state >> 8) % pages;
    wrong += differs(memory + (size_t)n * PAGE_WORDS, n, rounds[n]);
    if (state >> 30 != 0) continue;
    rounds[n]++;
    fill(memory + (size_t)n * PAGE_WORDS, n, rounds[n]);
  }
  double took = now() - begin;
  for (uint32_t n = 0; n < pages; n++) {
    wrong += differs(memory + (size_t)n * PAGE_WORDS, n, rounds[n]);
  }
  if (seconds > 0) printf("touches per second: %.0f\n", touches / took);
  printf("guest: %u pages verified, %u wrong\n", pages, wrong);
  return wrong != 0;
}
