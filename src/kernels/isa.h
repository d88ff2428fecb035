// Instruction sets that kernels exist for. Selection is a pure function of (type, isa): a test can ask what another
// machine would choose.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/cpu.h"

namespace thimble::kernels {

enum class Isa : uint8_t { scalar, avx2, avx512_vnni, avx512_amx, neon, neon_dotprod, neon_i8mm };

/// Every set, of this machine or not, in the order of the enumeration.
std::span<const Isa> all_isas() noexcept;

/// "scalar", "avx2", "avx512_vnni", "avx512_amx", "neon", "neon_dotprod", "neon_i8mm".
std::string_view isa_name(Isa isa) noexcept;
std::optional<Isa> isa_from_name(std::string_view name) noexcept;

/// Best instruction set of a processor.
Isa best_isa(const CpuFeatures& cpu) noexcept;

/// True when `cpu` can run kernels of `isa`. Never true of avx512_amx on a machine whose AMX fails the comparison of
/// kernel_check.h.
bool supports(const CpuFeatures& cpu, Isa isa) noexcept;

/// The sets that `cpu` can run, in the order of all_isas().
std::vector<Isa> supported_isas(const CpuFeatures& cpu);

/// The sets that kernels of `isa` may fall back to, best first, ending with scalar: avx512_vnni, avx2, scalar.
std::vector<Isa> fallbacks(Isa isa);

}  // namespace thimble::kernels
