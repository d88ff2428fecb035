// Calls one kernel of this build a given number of times and says where its code lies, for count_instructions.py.
//   count_ours ISA TYPE LAYOUT ROWS K COLUMNS REPETITIONS     LAYOUT: stock or packed
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/matmul_kernel.h"
#include "kernels/packed_layout.h"

using namespace thimble;
using namespace thimble::kernels;

namespace {

// Any bits are a valid quant; counts do not depend on values, because the kernels branch on sizes alone.
std::vector<std::byte> filled(size_t n) {
  return std::vector<std::byte>(n + 64, std::byte{0x11});
}

std::byte* aligned(std::vector<std::byte>& bytes) {
  const auto at = reinterpret_cast<uintptr_t>(bytes.data());
  return bytes.data() + (64 - at % 64) % 64;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 8) return 2;
  const auto isa = isa_from_name(argv[1]);
  const TypeTraits* type = find_type(std::string_view(argv[2]));
  if (!isa || type == nullptr) return 2;
  const bool packed = std::strcmp(argv[3], "packed") == 0;
  const int64_t rows = std::atol(argv[4]), k = std::atol(argv[5]), columns = std::atol(argv[6]);
  const MatmulKernel* kernel = select(type->type, *isa);
  if (kernel == nullptr || kernel->isa != *isa || (packed && kernel->packed_lanes == 0)) return 3;

  const size_t row_size = *row_bytes(type->type, static_cast<uint64_t>(k));
  const size_t stride = packed ? packed_panel_bytes(type->type, kernel->packed_lanes, k) : row_size;
  const size_t n_strides =
      static_cast<size_t>(packed ? (rows + kernel->packed_lanes - 1) / kernel->packed_lanes : rows);
  std::vector<std::byte> weights = filled(stride * n_strides);
  std::vector<std::byte> x = filled(activation_row_bytes(kernel->layout, k) * static_cast<size_t>(columns));
  std::vector<float> out(static_cast<size_t>(rows * columns));
  const MatmulArgs args = {.weights = aligned(weights),
                           .weight_stride = stride,
                           .x = aligned(x),
                           .x_stride = activation_row_bytes(kernel->layout, k),
                           .out = out.data(),
                           .out_stride = static_cast<size_t>(rows),
                           .n_rows = rows,
                           .n_cols = columns,
                           .k = k,
                           .packed = packed};
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&main), &info) == 0) return 4;
  std::printf("%s %p\n", std::string(kernel->name).c_str(), info.dli_fbase);
  std::fflush(stdout);
  for (int i = 0; i < std::atoi(argv[7]); ++i) kernel->function(args);
  return 0;
}
