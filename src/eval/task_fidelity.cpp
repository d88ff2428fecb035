#include "eval/task_fidelity.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <mutex>
#include <numeric>

#include "base/error.h"
#include "base/hash.h"
#include "base/json.h"
#include "eval/item_dealer.h"
#include "eval/task_prompts.h"
#include "model/logit_divergence.h"

namespace thimble {

namespace {

std::string item_key(const TaskSet& task, const TaskItem& item, const TaskFidelitySettings& s) {
  Json parts = {s.model_key, s.reference_key, static_cast<int>(s.kv)};
  for (const ChatMessage& m : task_messages(task, item)) parts.push_back({m.role, m.content});
  return fmt::format("faithful/{}/{}/{}", task.name, item.id, content_hash(parts.dump()));
}

std::vector<size_t> selection(const TaskSet& task, const TaskFidelitySettings& s) {
  if (s.only) return *s.only;
  std::vector<size_t> all(task.items.size());
  std::iota(all.begin(), all.end(), size_t{0});
  return all;
}

Json to_json(const ItemFidelity& f) {
  return {{"kl", f.kl}, {"flips", f.flips}, {"nll", f.nll}, {"reference_nll", f.reference_nll}, {"tail", f.tail}};
}

std::optional<ItemFidelity> recall(const TaskItem& item, const std::string& key, const Journal* journal) {
  const std::optional<std::string> text = journal == nullptr ? std::nullopt : journal->find(key);
  if (!text) return std::nullopt;
  const std::string source = "journal entry " + key;
  const Json json = parse_json(*text, source);
  const JsonObject o(json, source);
  ItemFidelity out;
  out.id = item.id;
  out.cluster = item.cluster;
  out.nll = o.number("nll");
  out.reference_nll = o.number("reference_nll");
  out.tail = o.number("tail");
  for (const Json& v : o.at("kl")) {
    if (!v.is_number()) fail(ErrorCode::corrupt, "{}: key 'kl': found {}, expected numbers", source, describe_json(v));
    out.kl.push_back(v.get<float>());
  }
  for (const Json& v : o.at("flips")) {
    if (!v.is_number_integer() || v.get<int64_t>() < 0 || v.get<int64_t>() >= static_cast<int64_t>(out.kl.size())) {
      fail(ErrorCode::corrupt, "{}: key 'flips': found {}, expected numbers of tokens", source, describe_json(v));
    }
    out.flips.push_back(v.get<int64_t>());
  }
  return out;
}

// Forces answers through timelines of one engine; used by one thread at a time.
class ForcedAnswers {
 public:
  ForcedAnswers(const TaskSet& task, const TaskPrompts& prompts) : task_(task), prompts_(prompts) {}

  // What `session` has of the prompt already is not computed again.
  ItemFidelity measure(Session& session, const ReferenceAnswer& reference, const Task& cancel) {
    const std::vector<TokenId>& prompt = prompts_.tokens[reference.item];
    check(session.engine(), reference, prompt);
    // The last token of the prompt predicts the first of the answer; the last of the answer predicts nothing.
    feed_prompt(session, prompts_, reference.item, prompt.size() - 1, cancel);
    std::vector<TokenId> forced = {prompt.back()};
    forced.insert(forced.end(), reference.tokens.begin(), reference.tokens.end() - 1);
    ItemFidelity out;
    out.id = task_.items[reference.item].id;
    out.cluster = task_.items[reference.item].cluster;
    const auto take = [&](int64_t position, std::span<const float> logits) {
      const auto i = static_cast<size_t>(position);
      const TopRow row = reference.row(i);
      out.kl.push_back(static_cast<float>(top_.divergence(row, logits)));
      if (argmax(logits) != reference.tokens[i]) out.flips.push_back(position);
      out.nll += log_normaliser(logits) - static_cast<double>(logits[static_cast<size_t>(reference.tokens[i])]);
      // Greedy: the token chosen is the most probable one.
      out.reference_nll -= static_cast<double>(row.log_p.front());
      out.tail += static_cast<double>(row.tail);
    };
    session.feed_and_score(forced, take, cancel);
    if (!std::isfinite(out.nll)) {
      fail(ErrorCode::corrupt, "{}: found a log likelihood of {}, expected a finite one: the weights are damaged",
           session.engine().gguf().source(), -out.nll);
    }
    return out;
  }

 private:
  void check(const Engine& engine, const ReferenceAnswer& reference, const std::vector<TokenId>& prompt) const {
    if (hash_tokens(prompt) != reference.prompt_hash) {
      fail(ErrorCode::invalid_argument,
           "{}: task '{}', item '{}': found another prompt in tokens (chat template {}) than the reference model's, "
           "expected the same vocabulary and template",
           engine.gguf().source(), task_.name, task_.items[reference.item].id,
           chat_template_name(engine.chat_template()));
    }
    const auto is_known = [&](TokenId id) { return id < engine.config().n_vocab; };
    if (std::all_of(reference.tokens.begin(), reference.tokens.end(), is_known) &&
        std::all_of(reference.top.begin(), reference.top.end(), is_known)) {
      return;
    }
    fail(ErrorCode::invalid_argument, "{}: found a vocabulary of {} tokens, smaller than the reference model's",
         engine.gguf().source(), engine.config().n_vocab);
  }

  const TaskSet& task_;
  const TaskPrompts& prompts_;
  TopLogProbs top_;
};

class FidelityLoop {
 public:
  FidelityLoop(const TaskSet& task, const ReferenceAnswers& reference, const TaskFidelitySettings& settings,
               const Task& progress)
      : task_(task),
        reference_(reference),
        settings_(settings),
        progress_(progress),
        cancel_{{}, {}, progress.cancel},
        items_(selection(task, settings)),
        results_(task.items.size()) {
    for (const size_t i : items_) {
      results_[i] = recall(task.items[i], item_key(task, task.items[i], settings), settings.journal);
      if (!results_[i]) todo_.push_back(i);
    }
  }

  void run(std::span<const std::shared_ptr<const Engine>> engines) {
    if (todo_.empty()) return;
    const Engine& engine = *engines.front();
    const TaskPrompts prompts = encode_prompts(engine, task_);
    const SessionOptions options = task_session_options(engine, task_, prompts, settings_.n_ctx, settings_.kv);
    std::vector<ItemWorker> workers;
    for (const std::shared_ptr<const Engine>& e : engines) {
      workers.emplace_back([&](TakeItem take) {
        Session session(e, options);
        ForcedAnswers forced(task_, prompts);
        while (const std::optional<size_t> i = take()) {
          progress_.check(task_.name);
          finish(*i, forced.measure(session, reference_.read(*i), cancel_));
        }
      });
    }
    deal_items(todo_, workers);
  }

  TaskFidelity result() {
    std::vector<ItemFidelity> items;
    for (const size_t i : items_) items.push_back(std::move(*results_[i]));
    return summarise(task_.name, std::move(items));
  }

 private:
  void finish(size_t i, ItemFidelity result) {
    if (settings_.journal != nullptr) {
      settings_.journal->append(item_key(task_, task_.items[i], settings_), to_json(result).dump());
    }
    const std::lock_guard lock(mutex_);
    results_[i] = std::move(result);
    ++done_;
    progress_.report(items_.size() - todo_.size() + done_, items_.size(), task_.name);
  }

  const TaskSet& task_;
  const ReferenceAnswers& reference_;
  const TaskFidelitySettings& settings_;
  const Task& progress_;
  Task cancel_;  // without progress
  std::vector<size_t> items_;
  std::vector<std::optional<ItemFidelity>> results_;
  std::vector<size_t> todo_;
  std::mutex mutex_;  // results_, done_ and the progress callback
  size_t done_ = 0;
};

// Where damage of short and of long answers shows apart.
std::vector<FidelityStretch> stretches_of(const std::vector<ItemFidelity>& items) {
  std::vector<FidelityStretch> out;
  for (FidelityStretch s : {FidelityStretch{1, 16}, {17, 64}, {65, 256}, {257, 0}}) {
    const int64_t from = s.from, to = s.to;
    int64_t flips = 0;
    for (const ItemFidelity& item : items) {
      const auto n = static_cast<int64_t>(item.kl.size());
      const int64_t end = to == 0 ? n : std::min(n, to);
      for (int64_t i = from - 1; i < end; ++i) s.mean_kl += static_cast<double>(item.kl[static_cast<size_t>(i)]);
      s.n_tokens += std::max<int64_t>(0, end - from + 1);
      flips += std::count_if(item.flips.begin(), item.flips.end(), [&](int64_t f) { return f >= from - 1 && f < end; });
    }
    if (s.n_tokens == 0) continue;
    s.mean_kl /= static_cast<double>(s.n_tokens);
    s.top1_agreement = 1.0 - static_cast<double>(flips) / static_cast<double>(s.n_tokens);
    out.push_back(s);
  }
  return out;
}

}  // namespace

TaskFidelity summarise(const std::string& task, std::vector<ItemFidelity> items) {
  TaskFidelity out;
  out.task = task;
  std::vector<float> kl;
  int64_t flips = 0;
  double nll = 0, reference_nll = 0, tail = 0;
  for (const ItemFidelity& item : items) {
    kl.insert(kl.end(), item.kl.begin(), item.kl.end());
    flips += static_cast<int64_t>(item.flips.size());
    out.flipped_items += item.flips.empty() ? 0 : 1;
    nll += item.nll;
    reference_nll += item.reference_nll;
    tail += item.tail;
  }
  out.n_tokens = static_cast<int64_t>(kl.size());
  if (kl.empty()) return out;
  const auto n = static_cast<double>(out.n_tokens);
  out.divergence = divergence_of(std::move(kl));
  out.divergence.top1_agreement = 1.0 - static_cast<double>(flips) / n;
  out.divergence.reference_perplexity = std::exp(reference_nll / n);
  out.perplexity = std::exp(nll / n);
  out.mean_tail = tail / n;
  out.stretches = stretches_of(items);
  out.items = std::move(items);
  return out;
}

AnsweredAndMeasured answer_and_measure(std::span<const std::shared_ptr<const Engine>> engines, const TaskSet& task,
                                       const ReferenceAnswers& reference, const TaskRunSettings& answers,
                                       const TaskFidelitySettings& fidelity, const Task& progress) {
  if (answers.journal == nullptr || answers.journal != fidelity.journal || answers.kv != fidelity.kv ||
      answers.n_ctx != fidelity.n_ctx) {
    fail(ErrorCode::invalid_argument, "{}: found settings that differ, expected one journal, cache type and context",
         task.name);
  }
  if (engines.empty()) fail(ErrorCode::invalid_argument, "{}: found no engine to run on, expected one", task.name);
  const Engine& engine = *engines.front();
  const std::string run_key =
      answers_run_key(answers.model_key, chat_template_name(engine.chat_template()), answers.kv);
  const std::vector<size_t> to_answer = unanswered(task, run_key, *answers.journal, answers.only);
  const std::vector<size_t> to_measure = unmeasured(task, fidelity, *answers.journal);
  std::vector<size_t> both;
  std::set_intersection(to_answer.begin(), to_answer.end(), to_measure.begin(), to_measure.end(),
                        std::back_inserter(both));
  if (!both.empty()) {
    TaskRunSettings together = answers;
    together.only = std::move(both);
    const TaskPrompts prompts = encode_prompts(engine, task);
    const Task cancel{{}, {}, progress.cancel};
    std::vector<ForcedAnswers> forced(engines.size(), ForcedAnswers(task, prompts));
    (void)run_task(engines, task, together, progress, [&](size_t e, size_t item, Session& session) {
      const ItemFidelity f = forced[e].measure(session, reference.read(item), cancel);
      fidelity.journal->append(item_key(task, task.items[item], fidelity), to_json(f).dump());
    });
  }
  return {run_task(engines, task, answers, progress),
          measure_task_fidelity(engines, task, reference, fidelity, progress)};
}

std::vector<size_t> unmeasured(const TaskSet& task, const TaskFidelitySettings& settings, const Journal& journal) {
  std::vector<size_t> out;
  for (const size_t i : selection(task, settings)) {
    if (!journal.find(item_key(task, task.items[i], settings))) out.push_back(i);
  }
  return out;
}

TaskFidelity fidelity_from_journal(const TaskSet& task, const TaskFidelitySettings& settings, const Journal& journal) {
  std::vector<ItemFidelity> items;
  for (const size_t i : selection(task, settings)) {
    std::optional<ItemFidelity> f = recall(task.items[i], item_key(task, task.items[i], settings), &journal);
    if (!f) {
      fail(ErrorCode::not_found, "{}: item '{}': found no fidelity in the journal, expected it", task.name,
           task.items[i].id);
    }
    items.push_back(std::move(*f));
  }
  return summarise(task.name, std::move(items));
}

TaskFidelity measure_task_fidelity(std::span<const std::shared_ptr<const Engine>> engines, const TaskSet& task,
                                   const ReferenceAnswers& reference, const TaskFidelitySettings& settings,
                                   const Task& progress) {
  if (engines.empty()) fail(ErrorCode::invalid_argument, "{}: found no engine to run on, expected one", task.name);
  FidelityLoop loop(task, reference, settings, progress);
  loop.run(engines);
  return loop.result();
}

std::optional<PooledFidelity> pool_fidelity(std::span<const TaskFidelity> tasks) noexcept {
  PooledFidelity out;
  for (const TaskFidelity& f : tasks) {
    const auto n = static_cast<double>(f.n_tokens);
    out.n_tokens += f.n_tokens;
    out.mean_kl += n * f.divergence.mean_kl;
    out.top1_agreement += n * f.divergence.top1_agreement;
    out.n_items += static_cast<int64_t>(f.items.size());
    out.flipped_items += f.flipped_items;
  }
  if (out.n_tokens == 0) return std::nullopt;
  out.mean_kl /= static_cast<double>(out.n_tokens);
  out.top1_agreement /= static_cast<double>(out.n_tokens);
  return out;
}

}  // namespace thimble
