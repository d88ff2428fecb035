// Physical memory from sysconf: the total, not what is free, since caches give way and a limit that moves from one
// second to the next cannot be tested.
#include "model/memory_limit.h"

#include <unistd.h>

#include "base/checked.h"
#include "base/error.h"

namespace thimble {

void check_memory(std::optional<uint64_t> bytes, std::string_view what) {
  const long pages = ::sysconf(_SC_PHYS_PAGES);
  const long page_bytes = ::sysconf(_SC_PAGESIZE);
  if (pages <= 0 || page_bytes <= 0) return;
  const uint64_t physical = static_cast<uint64_t>(pages) * static_cast<uint64_t>(page_bytes);
  if (!bytes) {
    fail(ErrorCode::resource_exhausted, "{}: needs more bytes than 64 bits can count, this machine has {}", what,
         physical);
  }
  if (*bytes > physical) {
    fail(ErrorCode::resource_exhausted, "{}: needs {} bytes, this machine has {}", what, *bytes, physical);
  }
}

}  // namespace thimble
