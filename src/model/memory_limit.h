// Refuses allocations that this machine could never hold. Linux grants address space beyond its memory and kills the
// process when the pages are touched; an error that names the amount is the better answer.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace thimble {

/// Errors: resource_exhausted when `bytes` is nothing (the size overflowed) or more than the physical memory. `what`
/// starts the message.
void check_memory(std::optional<uint64_t> bytes, std::string_view what);

}  // namespace thimble
