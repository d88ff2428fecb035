// How many items an engine should decode together, and how many engines should share the threads: items of a task
// answered by every arrangement in turn, round after round, so that the machine's noise falls on all alike. Usage:
//   thimble_batch_bench MODEL TASK.task.json ITEMS ROUNDS TOKENS ARRANGEMENT...
// An arrangement is o8 (one engine with all threads, 8 items at a time) or s8 (several single-threaded engines).
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <utility>
#include <vector>

#include "base/cpu_topology.h"
#include "base/error.h"
#include "eval/task_run.h"

namespace thimble {
namespace {

using Clock = std::chrono::steady_clock;
using Engines = std::vector<std::shared_ptr<const Engine>>;

struct Arrangement {
  bool several;    // one single-threaded engine per thread, or one engine with all threads
  size_t n_batch;  // items each engine decodes together
  std::vector<double> seconds;
};

Engines open(const std::string& path, bool several, int n_threads, const std::shared_ptr<const PackedWeights>& packed) {
  EngineOptions options;
  options.n_threads = several ? 1 : n_threads;
  options.packed = packed;
  Engines out;
  for (int i = 0; i < (several ? n_threads : 1); ++i) out.push_back(Engine::open(path, options));
  return out;
}

double run(const Engines& engines, const TaskSet& task, size_t n_batch, std::vector<std::string>& answers) {
  TaskRunSettings settings;
  settings.n_batch = n_batch;
  const Clock::time_point start = Clock::now();
  const TaskResult r = run_task(engines, task, settings);
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  std::vector<std::string> now;
  for (const ItemResult& item : r.items) now.push_back(item.answer);
  if (answers.empty()) answers = now;
  if (answers != now) fail(ErrorCode::internal, "answers differ between arrangements");
  return seconds;
}

void bench(const std::string& path, const TaskSet& task, size_t n_rounds, std::vector<Arrangement> all) {
  const int n_threads = usable_cpu_count();
  const Engines one = open(path, false, n_threads, nullptr);
  const Engines several = open(path, true, n_threads, one.front()->model().packed());
  std::vector<std::string> answers;
  for (size_t round = 0; round < n_rounds; ++round) {
    for (Arrangement& a : all) a.seconds.push_back(run(a.several ? several : one, task, a.n_batch, answers));
  }
  for (Arrangement& a : all) {
    std::sort(a.seconds.begin(), a.seconds.end());
    const double median = a.seconds[a.seconds.size() / 2];
    fmt::print("{:<8} x {} thread(s), batch {:>2}: {:7.2f} items/s, median of {} ({:.2f} to {:.2f})\n",
               a.several ? fmt::format("{} engines", n_threads) : "1 engine", a.several ? 1 : n_threads, a.n_batch,
               static_cast<double>(task.items.size()) / median, a.seconds.size(),
               static_cast<double>(task.items.size()) / a.seconds.back(),
               static_cast<double>(task.items.size()) / a.seconds.front());
  }
}

}  // namespace
}  // namespace thimble

int main(int argc, char** argv) {
  if (argc < 7) {
    fmt::print(stderr, "usage: {} MODEL TASK.task.json ITEMS ROUNDS TOKENS ARRANGEMENT...\n", argv[0]);
    return 2;
  }
  try {
    thimble::TaskSet task = thimble::read_task(argv[2]);
    const auto number = [](const char* text) {
      return static_cast<size_t>(std::max(1L, std::strtol(text, nullptr, 10)));
    };
    task.items.resize(std::min(task.items.size(), number(argv[3])));
    task.max_tokens = static_cast<int64_t>(number(argv[5]));
    std::vector<thimble::Arrangement> all;
    for (int i = 6; i < argc; ++i) all.push_back({argv[i][0] == 's', number(argv[i] + 1), {}});
    thimble::bench(argv[1], task, number(argv[4]), std::move(all));
    return 0;
  } catch (const thimble::Error& e) {
    fmt::print(stderr, "{}\n", e.what());
    return 1;
  }
}
