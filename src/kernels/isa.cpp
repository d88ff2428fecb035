// Names, detection and fallback order of the instruction sets.
#include "kernels/isa.h"

#include <algorithm>
#include <iterator>

#include "kernels/kernel_check.h"

namespace thimble::kernels {

namespace {

// In the order of the enumeration.
constexpr Isa kAll[] = {Isa::scalar, Isa::avx2,         Isa::avx512_vnni, Isa::avx512_amx,
                        Isa::neon,   Isa::neon_dotprod, Isa::neon_i8mm};
constexpr std::string_view kNames[] = {"scalar", "avx2",         "avx512_vnni", "avx512_amx",
                                       "neon",   "neon_dotprod", "neon_i8mm"};
static_assert(std::size(kAll) == std::size(kNames));

}  // namespace

std::span<const Isa> all_isas() noexcept {
  return kAll;
}

std::string_view isa_name(Isa isa) noexcept {
  const auto index = static_cast<size_t>(isa);
  return index < std::size(kNames) ? kNames[index] : "unknown";
}

std::optional<Isa> isa_from_name(std::string_view name) noexcept {
  for (const Isa isa : kAll) {
    if (isa_name(isa) == name) return isa;
  }
  return std::nullopt;
}

Isa best_isa(const CpuFeatures& cpu) noexcept {
  for (const Isa isa : {Isa::avx512_amx, Isa::avx512_vnni, Isa::avx2, Isa::neon_i8mm, Isa::neon_dotprod, Isa::neon}) {
    if (supports(cpu, isa)) return isa;
  }
  return Isa::scalar;
}

bool supports(const CpuFeatures& cpu, Isa isa) noexcept {
  switch (isa) {
    case Isa::scalar:
      return true;
    case Isa::avx2:
      return cpu.avx2;
    case Isa::avx512_vnni:
      return cpu.avx2 && cpu.avx512_vnni;
    case Isa::avx512_amx:
      return cpu.avx2 && cpu.avx512_vnni && cpu.amx_int8 && wrong_amx_kernel().empty();
    case Isa::neon:
      return cpu.neon;
    case Isa::neon_dotprod:
      return cpu.neon && cpu.neon_dotprod;
    case Isa::neon_i8mm:
      return cpu.neon && cpu.neon_dotprod && cpu.neon_i8mm;
  }
  return false;
}

std::vector<Isa> supported_isas(const CpuFeatures& cpu) {
  std::vector<Isa> list;
  std::copy_if(std::begin(kAll), std::end(kAll), std::back_inserter(list), [&](Isa isa) { return supports(cpu, isa); });
  return list;
}

std::vector<Isa> fallbacks(Isa isa) {
  switch (isa) {
    case Isa::avx512_amx:
      return {Isa::avx512_amx, Isa::avx512_vnni, Isa::avx2, Isa::scalar};
    case Isa::avx512_vnni:
      return {Isa::avx512_vnni, Isa::avx2, Isa::scalar};
    case Isa::avx2:
      return {Isa::avx2, Isa::scalar};
    case Isa::neon_i8mm:
      return {Isa::neon_i8mm, Isa::neon_dotprod, Isa::neon, Isa::scalar};
    case Isa::neon_dotprod:
      return {Isa::neon_dotprod, Isa::neon, Isa::scalar};
    case Isa::neon:
      return {Isa::neon, Isa::scalar};
    case Isa::scalar:
      break;
  }
  return {Isa::scalar};
}

}  // namespace thimble::kernels
