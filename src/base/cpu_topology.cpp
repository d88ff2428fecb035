#include "base/cpu_topology.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>

namespace thimble {

namespace {

// The first number of a one-line file, or `fallback` when it is missing, empty or not positive.
double read_number(const std::string& path, double fallback) {
  std::ifstream file(path);
  double value = 0.0;
  return file >> value && std::isfinite(value) && value > 0.0 ? value : fallback;
}

// Speeds as `leaf` tells them, or nothing unless it tells all.
std::vector<double> read_speeds(std::span<const int> ids, const std::string& sysfs, std::string_view leaf) {
  std::vector<double> speeds;
  for (const int id : ids) speeds.push_back(read_number(fmt::format("{}/cpu{}/{}", sysfs, id, leaf), 0.0));
  const bool complete = std::all_of(speeds.begin(), speeds.end(), [](double speed) { return speed > 0.0; });
  return complete ? speeds : std::vector<double>();
}

// The list names the threads of a core in ascending order: "0,4" or "0-1".
int first_sibling(int id, const std::string& sysfs) {
  std::ifstream file(fmt::format("{}/cpu{}/topology/thread_siblings_list", sysfs, id));
  int first = 0;
  return file >> first && first >= 0 && first < id ? first : id;
}

}  // namespace

std::vector<int> usable_processor_ids() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> ids;
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    for (int id = 0; id < CPU_SETSIZE; ++id) {
      if (CPU_ISSET(id, &set)) ids.push_back(id);
    }
  }
  if (ids.empty()) ids.push_back(0);
  return ids;
}

int usable_cpu_count() {
  return static_cast<int>(usable_processor_ids().size());
}

std::vector<Processor> order_processors(std::span<const int> ids, const std::string& sysfs) {
  std::vector<double> speeds = read_speeds(ids, sysfs, "cpu_capacity");
  if (speeds.empty()) speeds = read_speeds(ids, sysfs, "cpufreq/cpuinfo_max_freq");
  if (speeds.empty()) speeds.assign(ids.size(), 1.0);
  const double fastest = speeds.empty() ? 1.0 : *std::max_element(speeds.begin(), speeds.end());

  struct Ranked {
    Processor processor;
    int thread_of_core;  // 0 for the first usable thread of a core
  };
  std::vector<Ranked> ranked;
  std::map<int, int> threads_seen;
  for (size_t i = 0; i < ids.size(); ++i) {
    const int core = first_sibling(ids[i], sysfs);
    ranked.push_back({{ids[i], core, speeds[i] / fastest}, threads_seen[core]++});
  }
  std::stable_sort(ranked.begin(), ranked.end(), [](const Ranked& a, const Ranked& b) {
    if (a.thread_of_core != b.thread_of_core) return a.thread_of_core < b.thread_of_core;
    return a.processor.capacity > b.processor.capacity;
  });
  std::vector<Processor> out;
  for (const Ranked& r : ranked) out.push_back(r.processor);
  return out;
}

}  // namespace thimble
