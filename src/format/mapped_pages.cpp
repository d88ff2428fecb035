// madvise(MADV_DONTNEED) on read-only file mappings. posix_madvise would be portable, but glibc ignores its DONTNEED.
#include "format/mapped_pages.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

namespace thimble {

void release_pages(std::span<const std::shared_ptr<const MappedFile>> mappings,
                   std::span<const std::byte> bytes) noexcept {
  if (bytes.empty()) return;
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  for (const auto& mapping : mappings) {
    const std::span<const std::byte> whole = mapping->bytes();
    const auto begin = reinterpret_cast<uintptr_t>(whole.data());
    const auto first = reinterpret_cast<uintptr_t>(bytes.data());
    if (first < begin || first - begin > whole.size() || bytes.size() > whole.size() - (first - begin)) continue;
    // The mapping starts on a page, so rounding down stays inside it. Failure costs memory, not correctness.
    const size_t lead = (first - begin) % page;
    ::madvise(const_cast<std::byte*>(bytes.data()) - lead, bytes.size() + lead, MADV_DONTNEED);
    return;
  }
}

}  // namespace thimble
