#include "device/region_cost.h"

#include <chrono>

namespace thimble {

double region_seconds(ThreadPool& pool) noexcept {
  constexpr int kRegions = 2000;
  const auto nothing = [](int) {};
  pool.run(nothing);  // wakes threads that sleep
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < kRegions; ++i) pool.run(nothing);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / kRegions;
}

}  // namespace thimble
