// What this processor can do, detected once. Everything that dispatches on it takes it as an argument.
#pragma once

#include <string>

namespace thimble {

struct CpuFeatures {
  bool avx2 = false;         // with FMA and F16C
  bool avx512_vnni = false;  // with F, BW, VL, DQ
  bool amx_int8 = false;     // with avx512_vnni, and permitted by the operating system
  bool neon = false;
  bool neon_dotprod = false;  // with half-precision arithmetic
  bool neon_i8mm = false;     // 8-bit integer matrix products
};

/// Features of the processor and operating system this process runs on.
const CpuFeatures& host_cpu() noexcept;

/// Model name as the operating system gives it, or "unknown".
std::string cpu_model_name();

}  // namespace thimble
