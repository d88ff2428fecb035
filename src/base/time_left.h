// Time left of long work, estimated from what this process has done: a resumed run starts at its first report, not at
// nothing. Knows no clock.
#pragma once

#include <optional>
#include <string>

namespace thimble {

class TimeLeft {
 public:
  /// Takes that `share` (0..1) of all work was done `seconds` after some fixed moment. Gives the seconds left, or
  /// nothing while too little has been done since the first call to tell.
  std::optional<double> update(double seconds, double share) noexcept;

 private:
  bool started_ = false;
  double first_seconds_ = 0;
  double first_share_ = 0;
};

/// "42 s", "7 min 05 s", "3 h 20 min", "2 d 4 h"; rounded to what is shown.
std::string format_duration(double seconds);

}  // namespace thimble
