#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <set>
#include <thread>
#include <vector>

#include "base/cpu_topology.h"
#include "base/error.h"

namespace thimble {
namespace {

TEST(ThreadPool, RunsTheTaskOnceOnEveryThread) {
  for (int n = 1; n <= 5; ++n) {
    ThreadPool pool(n);
    for (int round = 0; round < 200; ++round) {
      std::vector<int> calls(static_cast<size_t>(n), 0);
      pool.run([&](int thread) { ++calls[static_cast<size_t>(thread)]; });
      EXPECT_EQ(calls, std::vector<int>(static_cast<size_t>(n), 1));
    }
  }
}

TEST(ThreadPool, ParallelForCoversEveryItemOnce) {
  ThreadPool pool(3);
  for (const int64_t n : {0, 1, 2, 7, 64, 1000}) {
    for (const int64_t grain : {1, 3, 64}) {
      std::vector<int> seen(static_cast<size_t>(n), 0);
      pool.parallel_for(n, grain, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
      });
      EXPECT_EQ(std::accumulate(seen.begin(), seen.end(), int64_t{0}), n);
      EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), n);
    }
  }
}

TEST(ThreadPool, SeveralCallersShareOnePool) {
  ThreadPool pool(2);
  std::atomic<int64_t> total{0};
  std::vector<std::thread> callers;
  callers.reserve(4);
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&] {
      for (int round = 0; round < 100; ++round) {
        pool.parallel_for(10, 1, [&](int64_t begin, int64_t end) { total += end - begin; });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(total.load(), 4 * 100 * 10);
}

// Workers that a region does not wait for must neither miss a later one nor touch a finished one.
TEST(ThreadPool, RegionsWithAndWithoutEveryoneFollowEachOther) {
  for (const int n : {2, 3, 8}) {
    ThreadPool pool(n);
    for (int round = 0; round < 2000; ++round) {
      std::vector<int> calls(static_cast<size_t>(n), 0);
      std::atomic<int> some{0};
      pool.run_some([&](int thread) {
        ++calls[static_cast<size_t>(thread)];
        ++some;
      });
      EXPECT_EQ(calls[0], 1);
      EXPECT_EQ(std::accumulate(calls.begin(), calls.end(), 0), some.load());
      EXPECT_LE(*std::max_element(calls.begin(), calls.end()), 1);
      if (round % 7 != 0) continue;
      std::vector<int> all(static_cast<size_t>(n), 0);
      pool.run([&](int thread) { ++all[static_cast<size_t>(thread)]; });
      EXPECT_EQ(all, std::vector<int>(static_cast<size_t>(n), 1));
    }
  }
}

TEST(ThreadPool, SplitCoversEveryItemOnceFromMultiplesOfTheGrain) {
  for (const int n_threads : {1, 2, 3, 5}) {
    ThreadPool pool(n_threads);
    for (const int64_t n : {0, 1, 2, 7, 64, 1000}) {
      for (const int64_t grain : {0, 1, 3, 64}) {
        std::vector<int> seen(static_cast<size_t>(n), 0);
        std::atomic<int> off_grain{0};
        pool.split(n, grain, [&](int64_t begin, int64_t end) {
          if (begin % std::max<int64_t>(grain, 1) != 0 || begin >= end) ++off_grain;
          for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
        });
        EXPECT_EQ(off_grain.load(), 0);
        EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), n);
      }
    }
  }
}

TEST(ThreadPool, SharesJoinWithoutGaps) {
  ThreadPool pool(3);
  for (const int64_t n : {0, 1, 5, 48, 1000}) {
    for (const int64_t grain : {1, 16}) {
      int64_t end = 0;
      for (int t = 0; t < 3; ++t) {
        const ThreadPool::Range share = pool.share(t, n, grain);
        EXPECT_EQ(share.begin, end);
        EXPECT_GE(share.end, share.begin);
        end = share.end;
      }
      EXPECT_EQ(end, n);
    }
  }
}

// The second thread cannot finish before the first has taken over work of its share: without that this hangs.
TEST(ThreadPool, SplitLetsFastThreadsTakeOver) {
  ThreadPool pool(2);
  constexpr int64_t kItems = 1024;
  const std::thread::id caller = std::this_thread::get_id();
  const int64_t boundary = pool.share(0, kItems, 1).end;
  std::atomic<int64_t> taken_over{0};
  pool.split(kItems, 1, [&](int64_t begin, int64_t end) {
    const bool first = std::this_thread::get_id() == caller;
    if (first == (begin >= boundary)) {
      taken_over += end - begin;
      taken_over.notify_all();
    } else if (!first) {
      taken_over.wait(0);
    }
  });
  EXPECT_GT(taken_over.load(), 0);
}

std::vector<int> affinity_of_this_thread() {
  return usable_processor_ids();
}

TEST(ThreadPool, PinsWorkersAndLeavesTheCallerAlone) {
  const std::vector<int> before = affinity_of_this_thread();
  const int n = std::min(static_cast<int>(before.size()), 4);
  ThreadPool pool(n);
  EXPECT_EQ(affinity_of_this_thread(), before);
  EXPECT_EQ(pool.processor(0), -1);
  std::vector<std::vector<int>> masks(static_cast<size_t>(n));
  pool.run([&](int thread) { masks[static_cast<size_t>(thread)] = affinity_of_this_thread(); });
  std::set<int> used;
  for (int t = 1; t < n; ++t) {
    EXPECT_EQ(masks[static_cast<size_t>(t)], std::vector<int>{pool.processor(t)});
    EXPECT_TRUE(used.insert(pool.processor(t)).second);
  }
  // A second pool of the same process does not crowd onto the same processors.
  ThreadPool second(n);
  for (int t = 1; t < n; ++t) EXPECT_EQ(used.count(second.processor(t)), 0u);
}

TEST(ThreadPool, PinsTheCallerOnRequestAndRestoresIt) {
  const std::vector<int> before = affinity_of_this_thread();
  if (before.size() < 2) GTEST_SKIP() << "one processor";
  {
    ThreadPool pool(2, {.pin_workers = true, .pin_caller = true});
    EXPECT_EQ(affinity_of_this_thread(), std::vector<int>{pool.processor(0)});
    EXPECT_NE(pool.processor(0), pool.processor(1));
  }
  EXPECT_EQ(affinity_of_this_thread(), before);
  const ThreadPool again(2);  // and its processors can be held again
  EXPECT_GE(again.processor(1), 0);
}

TEST(ThreadPool, MoreThreadsThanProcessorsAreNotPinned) {
  const int n = static_cast<int>(affinity_of_this_thread().size()) + 1;
  if (n > 64) GTEST_SKIP() << "too many processors";
  ThreadPool pool(n);
  std::atomic<int> calls{0};
  pool.run([&](int) { ++calls; });
  EXPECT_EQ(calls.load(), n);
  for (int t = 0; t < n; ++t) EXPECT_EQ(pool.processor(t), -1);
}

TEST(ThreadPool, RefusesAbsurdCounts) {
  EXPECT_THROW(ThreadPool(0), Error);
  EXPECT_THROW(ThreadPool(-1), Error);
  EXPECT_THROW(ThreadPool(100000), Error);
}

}  // namespace
}  // namespace thimble
