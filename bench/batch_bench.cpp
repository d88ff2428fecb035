// How many items an engine should decode together, and how many engines should share the threads: items of a task
// answered by every arrangement in turn, round after round, so that the machine's noise falls on all alike. Usage:
//   thimble_batch_bench MODEL TASK.task.json ITEMS ROUNDS TOKENS ARRANGEMENT...
// An arrangement is o8 (one engine with all threads, 8 items at a time) or s8 (several single-threaded engines).
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "base/cpu_topology.h"
#include "base/error.h"
#include "bench/bench_program.h"
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

Arrangement arrangement_from_name(const std::string& name) {
  size_t n_batch = 0;
  const char* const end = name.data() + name.size();
  const bool known = name.starts_with('o') || name.starts_with('s');
  if (!known || std::from_chars(name.data() + 1, end, n_batch).ptr != end || n_batch == 0) {
    fail(ErrorCode::invalid_argument, "arrangement: found \"{}\", expected o or s and a number of items, as o8", name);
  }
  return {name[0] == 's', n_batch, {}};
}

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

void measure_all(const std::string& path, const TaskSet& task, size_t n_rounds, std::vector<Arrangement> all) {
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
  CLI::App app{"How many items an engine should decode together", "thimble_batch_bench"};
  std::string model, task_file;
  size_t n_items = 1, n_rounds = 1;
  int64_t n_tokens = 1;
  std::vector<std::string> arrangements;
  app.add_option("MODEL", model)->required();
  app.add_option("TASK", task_file)->required();
  thimble::bench::add_count(app, "ITEMS", n_items)->required();
  thimble::bench::add_count(app, "ROUNDS", n_rounds)->required();
  thimble::bench::add_count(app, "TOKENS", n_tokens)->required();
  app.add_option("ARRANGEMENT", arrangements)->required();
  return thimble::bench::run_program(app, argc, argv, [&] {
    std::vector<thimble::Arrangement> all;
    for (const std::string& name : arrangements) all.push_back(thimble::arrangement_from_name(name));
    thimble::TaskSet task = thimble::read_task(task_file);
    task.items.resize(std::min(task.items.size(), n_items));
    task.max_tokens = n_tokens;
    thimble::measure_all(model, task, n_rounds, std::move(all));
  });
}
