// How much memory the machine has.
#pragma once

#include <cstdint>
#include <optional>

namespace thimble {

/// Bytes of memory in all, not what is free: caches give way, and a limit that moves from one second to the next cannot
/// be tested. Nothing when the system does not say.
std::optional<uint64_t> physical_memory() noexcept;

}  // namespace thimble
