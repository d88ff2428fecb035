#include "model/memory_limit.h"

#include "base/error.h"
#include "base/physical_memory.h"

namespace thimble {

void check_memory(std::optional<uint64_t> bytes, std::string_view what) {
  const std::optional<uint64_t> physical = physical_memory();
  if (!physical) return;
  if (!bytes) {
    fail(ErrorCode::resource_exhausted, "{}: needs more bytes than 64 bits can count, this machine has {}", what,
         *physical);
  }
  if (*bytes > *physical) {
    fail(ErrorCode::resource_exhausted, "{}: needs {} bytes, this machine has {}", what, *bytes, *physical);
  }
}

}  // namespace thimble
