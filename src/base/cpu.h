// What this processor can do, detected once. Everything that dispatches on it takes it as an argument.
#pragma once

#include <string>
#include <string_view>

namespace thimble {

struct CpuFeatures {
  bool avx2 = false;         // with FMA and F16C
  bool avx512_vnni = false;  // with F, BW, VL, DQ
  bool amx_int8 = false;     // with avx512_vnni, and permitted by the operating system
  bool neon = false;
  bool neon_dotprod = false;  // with half-precision arithmetic
  bool neon_i8mm = false;     // 8-bit integer matrix products

  bool wants_prefetch = false;  // see wants_prefetch() below
};

/// True of processors whose own prefetchers do not keep memory busy while a core reads one stream and computes between
/// its loads, so that hints pay: AMD from family 26 (Zen 5) on. Zen 4 is slower with them; others have not been
/// measured. `vendor` and `family` as CPUID leaves 0 and 1 have them (the extended family added).
bool wants_prefetch(std::string_view vendor, unsigned family) noexcept;

/// Features of the processor and operating system this process runs on.
const CpuFeatures& host_cpu() noexcept;

/// Model name as the operating system gives it, or "unknown".
std::string cpu_model_name();

}  // namespace thimble
