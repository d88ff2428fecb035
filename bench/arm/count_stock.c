// Calls one kernel of a stock llama.cpp library a given number of times and says where the library lies, for
// count_instructions.py. Declarations and block sizes are those of its ggml-cpu/repack.h, ggml-cpu/quants.h and
// ggml-common.h.
//   count_stock LIBRARY FUNCTION KIND ROW_BYTES COLUMN_BYTES ROWS K COLUMNS REPETITIONS
//   count_stock LIBRARY      prints what the library's own ggml_backend_score says of this machine (0: cannot run)
// KIND: gemv and gemm take repacked rows and all of them in one call; dot takes two rows at most per call (dot2 says
// so).
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void (*repacked_fn)(int n, float* s, size_t bs, const void* vx, const void* vy, int nr, int nc);
typedef void (*dot_fn)(int n, float* s, size_t bs, const void* vx, size_t bx, const void* vy, size_t by, int nrc);

static char* filled(size_t n) {
  char* bytes = aligned_alloc(64, (n + 127) / 64 * 64);
  memset(bytes, 0x11, n);
  return bytes;
}

int main(int argc, char** argv) {
  if (argc != 2 && argc != 10) return 2;
  void* library = dlopen(argv[1], RTLD_NOW);
  if (library == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    return 3;
  }
  if (argc == 2) {
    int (*score)(void) = (int (*)(void))dlsym(library, "ggml_backend_score");
    printf("%d\n", score == NULL ? 0 : score());
    return 0;
  }
  void* function = dlsym(library, argv[2]);
  Dl_info info;
  if (function == NULL || dladdr(function, &info) == 0) return 4;
  const size_t row_bytes = (size_t)atol(argv[4]), column_bytes = (size_t)atol(argv[5]);
  const int rows = atoi(argv[6]), k = atoi(argv[7]), columns = atoi(argv[8]);
  char* weights = filled(row_bytes * (size_t)rows);
  char* x = filled(column_bytes * (size_t)columns);
  float* out = calloc((size_t)rows * (size_t)columns + 4, sizeof(float));
  printf("%s %p\n", argv[2], info.dli_fbase);
  fflush(stdout);
  for (int i = 0; i < atoi(argv[9]); ++i) {
    if (strncmp(argv[3], "dot", 3) != 0) {
      ((repacked_fn)function)(k, out, (size_t)rows, weights, x, columns, rows);
      continue;
    }
    const int step = strcmp(argv[3], "dot2") == 0 ? 2 : 1;
    for (int c = 0; c < columns; c += step) {
      for (int r = 0; r < rows; r += step) {
        ((dot_fn)function)(k, out + (size_t)c * (size_t)rows + r, (size_t)rows, weights + row_bytes * (size_t)r,
                           row_bytes, x + column_bytes * (size_t)c, column_bytes, step);
      }
    }
  }
  return 0;
}
