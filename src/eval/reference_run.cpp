// Making a file of reference answers: greedy decoding with every prediction noted.
#include <algorithm>
#include <cmath>
#include <deque>
#include <filesystem>
#include <map>
#include <mutex>
#include <numeric>
#include <set>

#include "base/error.h"
#include "eval/greedy_decoder.h"
#include "eval/reference_answers.h"

namespace thimble {

namespace {

class ReferenceRun {
 public:
  ReferenceRun(const TaskSet& task, const ReferenceSettings& settings, const ReferenceFile& file, const Task& progress)
      : task_(task),
        settings_(settings),
        progress_(progress),
        writer_(file.path, kReferenceMagic, file.header,
                [&](auto record) { done_.insert(parse_reference(record, file.path).item); }) {
    std::vector<size_t> wanted(task.items.size());
    std::iota(wanted.begin(), wanted.end(), size_t{0});
    if (settings.only) wanted = *settings.only;
    for (const size_t i : wanted) {
      if (!done_.contains(i)) todo_.push_back(i);
    }
    n_wanted_ = wanted.size();
  }

  void run(const EngineSource& source) {
    if (!todo_.empty()) answer_all(source());
    writer_.commit();
  }

 private:
  void answer_all(const std::vector<std::shared_ptr<const Engine>>& engines) {
    const Engine& engine = *engines.front();
    const TaskPrompts prompts = encode_prompts(engine, task_);
    // Keys and values in f16: the reference is the float model at its best.
    const SessionOptions options = task_session_options(engine, task_, prompts, settings_.n_ctx, ops::KvType::f16);
    const size_t n_batch = sensible_batch(engine, options, engines.size());
    std::deque<GreedyDecoder> decoders;  // never moves
    std::vector<ItemWorker> workers;
    for (const std::shared_ptr<const Engine>& e : engines) {
      GreedyDecoder& decoder = decoders.emplace_back(e, task_, prompts, options, n_batch);
      workers.emplace_back([this, &decoder, &prompts](TakeItem take) { work(decoder, prompts, take); });
    }
    deal_items(todo_, workers);
  }

  void work(GreedyDecoder& decoder, const TaskPrompts& prompts, TakeItem take) {
    TopLogProbs top;
    std::map<size_t, ReferenceAnswer> open;  // answers under way
    const auto see = [&](size_t item, TokenId token, std::span<const float> logits) {
      ReferenceAnswer& a = open[item];
      a.n_top = std::min(kTopTokens, logits.size());
      a.tokens.push_back(token);
      a.tail.push_back(top.take(logits, a.n_top, a.top, a.log_p));
      if (!std::isfinite(a.log_p.back()) || !std::isfinite(a.tail.back())) {
        fail(ErrorCode::corrupt, "{}: item '{}': found a prediction that is not finite: the weights are damaged",
             task_.name, task_.items[item].id);
      }
    };
    const auto finish = [&](size_t item, const Answer& text) {
      ReferenceAnswer& a = open[item];
      a.item = item;
      a.truncated = text.truncated;
      a.prompt_hash = hash_tokens(prompts.tokens[item]);
      if (settings_.answered) settings_.answered(item, text);
      keep(a);
      open.erase(item);
    };
    const auto take_or_stop = [&] {
      progress_.check(task_.name);
      return take();
    };
    decoder.run(
        take_or_stop, see, [](size_t, Session&) {}, finish, progress_);
  }

  void keep(const ReferenceAnswer& answer) {
    const std::vector<std::byte> record = encode_reference(answer);
    const std::lock_guard lock(mutex_);
    writer_.append(record);
    done_.insert(answer.item);
    progress_.report(done_.size(), n_wanted_, task_.name);
  }

  const TaskSet& task_;
  const ReferenceSettings& settings_;
  const Task& progress_;
  std::set<size_t> done_;  // before writer_, which fills it
  RecordWriter writer_;
  std::vector<size_t> todo_;
  size_t n_wanted_ = 0;
  std::mutex mutex_;  // writer_, done_ and the progress callback
};

}  // namespace

ReferenceAnswers reference_answers(const TaskSet& task, const ReferenceSettings& settings, const EngineSource& engines,
                                   const Task& progress) {
  const ReferenceFile file = reference_file(task, settings);
  if (std::filesystem::exists(file.path)) {
    try {
      return {file.path, file.header};
    } catch (const Error& e) {
      if (e.code() != ErrorCode::corrupt) throw;
      progress.say(LogLevel::warning, "{}; not used, the answers are made again", e.what());
    }
  }
  std::error_code error;
  std::filesystem::create_directories(settings.folder, error);
  if (error) fail(ErrorCode::io, "{}: cannot make the folder: {}", settings.folder, error.message());
  ReferenceRun(task, settings, file, progress).run(engines);
  return {file.path, file.header};
}

}  // namespace thimble
