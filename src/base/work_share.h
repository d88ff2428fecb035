// One progress bar over steps of different length.
#pragma once

#include <algorithm>
#include <string>

#include "base/progress.h"

namespace thimble {

/// Hands out parts of `progress`: a step's report of done/total is shown as its share of all work, under the label of
/// its part (where that is empty, under its own). The progress must outlive it.
class WorkShare {
 public:
  WorkShare(const Task& progress, double total) : progress_(progress), total_(std::max(total, 1e-9)) {}

  /// The next `work` units of the total; steps are taken in the order they are done.
  Task part(double work, std::string label) {
    Task out = quiet();
    const double begin = begun_ / total_, width = work / total_;
    begun_ += work;
    if (!progress_.progress) return out;
    out.progress = [this, begin, width, label = std::move(label)](uint64_t done, uint64_t total,
                                                                  std::string_view what) {
      const double share = total == 0 ? 0.0 : static_cast<double>(done) / static_cast<double>(total);
      const double all = std::clamp(begin + width * share, 0.0, 1.0);
      progress_.report(static_cast<uint64_t>(all * kSteps), static_cast<uint64_t>(kSteps),
                       label.empty() ? what : std::string_view(label));
    };
    return out;
  }
  /// Log and cancellation alone.
  Task quiet() const { return {{}, progress_.log, progress_.cancel}; }

 private:
  static constexpr double kSteps = 1e6;
  const Task& progress_;
  double total_;
  double begun_ = 0;
};

}  // namespace thimble
