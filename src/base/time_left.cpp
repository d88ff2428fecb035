#include "base/time_left.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace thimble {

std::optional<double> TimeLeft::update(double seconds, double share) noexcept {
  // Work that starts over (another file, another phase with a bar of its own) is measured from its start.
  if (!started_ || share < first_share_) {
    started_ = true;
    first_seconds_ = seconds;
    first_share_ = share;
  }
  const double done = share - first_share_;
  // Below two hundredths of what was left the estimate jumps about.
  if (done <= 0.02 * (1.0 - first_share_)) return std::nullopt;
  return std::max(0.0, (seconds - first_seconds_) * (1.0 - share) / done);
}

std::string format_duration(double seconds) {
  const auto s = static_cast<int64_t>(std::llround(std::clamp(seconds, 0.0, 1e12)));
  if (s < 120) return fmt::format("{} s", s);
  if (s < 3600) return fmt::format("{} min {:02} s", s / 60, s % 60);
  const int64_t minutes = (s + 30) / 60;
  if (minutes < 48 * 60) return fmt::format("{} h {:02} min", minutes / 60, minutes % 60);
  const int64_t hours = (s + 1800) / 3600;
  return fmt::format("{} d {} h", hours / 24, hours % 24);
}

}  // namespace thimble
