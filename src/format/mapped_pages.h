// Giving mapped pages back after use, so that reading a model once does not leave all of it resident.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "base/file.h"

namespace thimble {

/// Drops the pages that hold `bytes` from this process when `bytes` lies inside one of `mappings`; does nothing
/// otherwise (memory that is no file mapping would lose its content). Reading them again loads them again.
void release_pages(std::span<const std::shared_ptr<const MappedFile>> mappings,
                   std::span<const std::byte> bytes) noexcept;

}  // namespace thimble
