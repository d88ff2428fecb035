#include "base/huge_pages.h"

#include <sys/mman.h>

#include <memory>

namespace thimble {

void ask_for_huge_pages(const void* start, size_t bytes) noexcept {
#ifdef MADV_HUGEPAGE
  void* first = const_cast<void*>(start);  // madvise wants it; the advice changes no byte
  if (std::align(kHugePageBytes, kHugePageBytes, first, bytes) == nullptr) return;
  static_cast<void>(::madvise(first, bytes / kHugePageBytes * kHugePageBytes, MADV_HUGEPAGE));
#else
  static_cast<void>(start), static_cast<void>(bytes);
#endif
}

}  // namespace thimble
