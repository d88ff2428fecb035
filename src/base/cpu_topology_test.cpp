// The order of processors on made-up machines.
#include "base/cpu_topology.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace thimble {
namespace {

class FakeSysfs {
 public:
  // Named by the process: ctest runs each test in one of its own, several at a time.
  FakeSysfs() : root_(std::filesystem::path(testing::TempDir()) / fmt::format("sysfs_{}_{}", ::getpid(), counter_++)) {}
  ~FakeSysfs() { std::filesystem::remove_all(root_); }
  void put(int id, const std::string& leaf, const std::string& text) const {
    const std::filesystem::path file = root_ / fmt::format("cpu{}", id) / leaf;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text << "\n";
  }
  std::string path() const { return root_.string(); }

 private:
  static inline int counter_ = 0;
  std::filesystem::path root_;
};

std::vector<int> order(std::span<const int> ids, const FakeSysfs& sysfs) {
  std::vector<int> out;
  for (const Processor& p : order_processors(ids, sysfs.path())) out.push_back(p.id);
  return out;
}

TEST(CpuTopology, FastCoresFirstOnBigLittle) {
  // A phone: four small, three middle, one large core.
  const FakeSysfs sysfs;
  const int capacity[] = {250, 250, 250, 250, 620, 620, 620, 1024};
  std::vector<int> ids;
  for (int id = 0; id < 8; ++id) {
    sysfs.put(id, "cpu_capacity", std::to_string(capacity[id]));
    sysfs.put(id, "cpufreq/cpuinfo_max_freq", "1000000");  // capacity counts, not frequency
    ids.push_back(id);
  }
  EXPECT_EQ(order(ids, sysfs), (std::vector<int>{7, 4, 5, 6, 0, 1, 2, 3}));
  const std::vector<Processor> processors = order_processors(ids, sysfs.path());
  EXPECT_DOUBLE_EQ(processors[0].capacity, 1.0);
  EXPECT_DOUBLE_EQ(processors[7].capacity, 250.0 / 1024.0);
}

TEST(CpuTopology, CoresBeforeTheirSecondThreads) {
  const FakeSysfs sysfs;
  for (const int id : {0, 1, 2, 3}) sysfs.put(id, "topology/thread_siblings_list", id % 2 == 0 ? "0,2" : "1,3");
  const int all[] = {0, 1, 2, 3};
  EXPECT_EQ(order(all, sysfs), (std::vector<int>{0, 1, 2, 3}));
  for (const int id : {0, 1, 2, 3}) sysfs.put(id, "topology/thread_siblings_list", id < 2 ? "0-1" : "2-3");
  EXPECT_EQ(order(all, sysfs), (std::vector<int>{0, 2, 1, 3}));
  const int second[] = {1, 3};  // the affinity mask left only second threads: each is the first usable of its core
  EXPECT_EQ(order(second, sysfs), (std::vector<int>{1, 3}));
}

TEST(CpuTopology, FrequencyWhereCapacityIsNotTold) {
  const FakeSysfs sysfs;
  const int ids[] = {3, 5, 9};
  sysfs.put(3, "cpufreq/cpuinfo_max_freq", "1800000");
  sysfs.put(5, "cpufreq/cpuinfo_max_freq", "2400000");
  sysfs.put(9, "cpufreq/cpuinfo_max_freq", "2400000");
  EXPECT_EQ(order(ids, sysfs), (std::vector<int>{5, 9, 3}));
  sysfs.put(5, "cpu_capacity", "1024");  // only one of them: no comparison
  EXPECT_EQ(order(ids, sysfs), (std::vector<int>{5, 9, 3}));
}

TEST(CpuTopology, EqualWhereNothingOrNonsenseIsTold) {
  const FakeSysfs sysfs;
  const int ids[] = {0, 1, 4};
  EXPECT_EQ(order(ids, sysfs), (std::vector<int>{0, 1, 4}));
  for (const int id : ids) sysfs.put(id, "cpu_capacity", "-3");
  for (const int id : ids) sysfs.put(id, "topology/thread_siblings_list", "none");
  EXPECT_EQ(order(ids, sysfs), (std::vector<int>{0, 1, 4}));
  for (const Processor& p : order_processors(ids, sysfs.path())) EXPECT_EQ(p.capacity, 1.0);
}

TEST(CpuTopology, UsableProcessorsAreTheAffinityMask) {
  cpu_set_t set;
  CPU_ZERO(&set);
  ASSERT_EQ(sched_getaffinity(0, sizeof set, &set), 0);
  const std::vector<int> ids = usable_processor_ids();
  EXPECT_EQ(static_cast<int>(ids.size()), CPU_COUNT(&set));
  for (const int id : ids) EXPECT_TRUE(CPU_ISSET(id, &set));
}

}  // namespace
}  // namespace thimble
