// Which processors this process may use, and in which order threads should take them: distinct cores before the second
// thread of a core, fast cores before slow ones.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace thimble {

struct Processor {
  int id = 0;             // as in the affinity mask
  int core = 0;           // smallest id among the hardware threads of its core
  double capacity = 1.0;  // speed beside the fastest one of the list, in (0, 1]
};

/// Numbers of the processors in the affinity mask of the calling thread, ascending; {0} when it cannot be read.
std::vector<int> usable_processor_ids();

/// How many these are, at least 1.
int usable_cpu_count();

/// Describes `ids` in the order threads should take them. `sysfs` is a folder laid out like /sys/devices/system/cpu;
/// what it does not say is taken as one thread per core and equal speed. Speed is cpu_capacity (Arm) where every
/// processor has one, else cpuinfo_max_freq.
std::vector<Processor> order_processors(std::span<const int> ids, const std::string& sysfs = "/sys/devices/system/cpu");

}  // namespace thimble
