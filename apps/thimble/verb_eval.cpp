// thimble eval: perplexity, divergence from a reference model, and tasks.
#include <fmt/format.h>

#include <cstdio>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "eval/fidelity.h"
#include "eval/model_hash.h"
#include "eval/statistics.h"
#include "eval/task_run.h"
#include "packing.h"
#include "standard_output.h"
#include "verbs.h"

namespace thimble::cli {

namespace {

constexpr uint64_t kMaxTextBytes = uint64_t{1} << 28;

struct EvalArguments {
  std::string model;
  std::string text;
  std::string against;
  std::string tasks;
  std::string journal;
  std::string kv = "f16";
  std::string chat_template;
  int64_t n_ctx = 0;
  std::shared_ptr<const PackingFlags> packing;
};

std::shared_ptr<const Engine> open_engine(const std::string& path, const EvalArguments& a, const Context& context) {
  EngineOptions options;
  options.n_threads = context.threads();
  if (!a.chat_template.empty()) options.chat_template = chat_template_from_name(a.chat_template);
  options.packing = a.packing->options();
  if (path != a.model) {
    // The flag names packed weights of one model. The reference is used for this run: no gigabytes in the cache.
    options.packing.file.clear();
    options.packing.folder.clear();
  }
  return Engine::open(path, options, context.task());
}

ops::KvType kv_type(const EvalArguments& a) {
  return a.kv == "int8" ? ops::KvType::int8 : ops::KvType::f16;
}

// What answers depend on besides settings; hashing a large model takes a while, so only for a journal.
std::string journal_key(const Engine& engine, const Journal* journal) {
  return journal == nullptr ? "" : model_hash(engine.gguf()) + "/" THIMBLE_VERSION;
}

FidelityResult run_text(const EvalArguments& a, const std::shared_ptr<const Engine>& engine, Journal* journal,
                        const Context& context) {
  const std::string text = read_file(a.text, kMaxTextBytes);
  const auto reference = a.against.empty() ? nullptr : open_engine(a.against, a, context);
  FidelitySettings settings;
  settings.n_ctx = a.n_ctx > 0 ? a.n_ctx : std::min<int64_t>(512, engine->config().n_ctx_train);
  settings.kv = kv_type(a);
  settings.journal = journal;
  if (reference) settings.reference_key = journal_key(*reference, journal);
  const FidelityModel model{engine, journal_key(*engine, journal)};
  return measure_fidelity(std::span(&model, 1), reference, text, settings, context.task()).front();
}

std::vector<TaskResult> run_tasks(const EvalArguments& a, const std::vector<TaskSet>& tasks,
                                  const std::shared_ptr<const Engine>& engine, Journal* journal,
                                  const Context& context) {
  const std::string key = journal_key(*engine, journal);
  std::vector<TaskResult> out;
  const Task progress = context.task();
  for (const TaskSet& task : tasks) {
    out.push_back(run_task(engine, task, kv_type(a), a.n_ctx, key, journal, progress));
  }
  return out;
}

Json text_json(const FidelityResult& r) {
  Json out = {{"perplexity",
               {{"value", r.perplexity.perplexity},
                {"standard_error", r.perplexity.standard_error},
                {"chunks", r.perplexity.n_chunks},
                {"tokens", r.perplexity.n_scored}}}};
  if (r.divergence) {
    const DivergenceResult& d = *r.divergence;
    out["divergence"] = {
        {"mean_kl", d.mean_kl}, {"median_kl", d.median_kl},           {"p99_kl", d.p99_kl},
        {"max_kl", d.max_kl},   {"top1_agreement", d.top1_agreement}, {"reference_perplexity", d.reference_perplexity}};
  }
  return out;
}

Json tasks_json(const std::vector<TaskSet>& tasks, const std::vector<TaskResult>& results) {
  Json out = Json::array();
  for (size_t t = 0; t < results.size(); ++t) {
    Json metrics = Json::object();
    for (const Metric m : tasks[t].metrics) metrics[std::string(metric_name(m))] = results[t].mean(m);
    int64_t truncated = 0;
    for (const ItemResult& item : results[t].items) truncated += item.truncated;
    out.push_back({{"task", results[t].task},
                   {"items", results[t].items.size()},
                   {"primary", std::string(metric_name(results[t].primary))},
                   {"metrics", metrics},
                   {"truncated", truncated}});
  }
  return out;
}

void print_text(const FidelityResult& r) {
  fmt::print("perplexity         {:.4f} +/- {:.4f} ({} chunks, {} tokens)\n", r.perplexity.perplexity,
             r.perplexity.standard_error, r.perplexity.n_chunks, r.perplexity.n_scored);
  if (!r.divergence) return;
  const DivergenceResult& d = *r.divergence;
  fmt::print("reference          {:.4f}\n", d.reference_perplexity);
  fmt::print("KL mean            {:.5f} nats per token\n", d.mean_kl);
  fmt::print("KL median          {:.5f}\n", d.median_kl);
  fmt::print("KL 99 %            {:.4f}\n", d.p99_kl);
  fmt::print("KL max             {:.4f}\n", d.max_kl);
  fmt::print("same top token     {:.2f} %\n", 100.0 * d.top1_agreement);
}

void print_tasks(const std::vector<TaskSet>& tasks, const std::vector<TaskResult>& results) {
  fmt::print("{:<20} {:>6} {:<16} {:>8} {:>17}\n", "task", "items", "metric", "score", "95 % interval");
  for (size_t t = 0; t < results.size(); ++t) {
    const TaskResult& r = results[t];
    const Interval i = bootstrap_mean(r.points(), r.clusters(), 0.95, 10000, 1);
    for (const Metric m : tasks[t].metrics) {
      const std::string range = m == r.primary ? fmt::format("{:.1f} to {:.1f}", i.low, i.high) : "";
      fmt::print("{:<20} {:>6} {:<16} {:>8.2f} {:>17}\n", m == r.primary ? r.task : "",
                 m == r.primary ? std::to_string(r.items.size()) : "", metric_name(m),
                 100.0 * r.mean(m) / metric_scale(m), range);
    }
  }
}

void run_eval(const EvalArguments& a, const Context& context) {
  if (a.text.empty() && a.tasks.empty()) {
    fail(ErrorCode::invalid_argument, "eval: found neither --text nor --tasks, expected one or both");
  }
  if (!a.against.empty() && a.text.empty()) {
    fail(ErrorCode::invalid_argument, "eval: --against needs --text: divergence is measured on a text");
  }
  const std::shared_ptr<const Engine> engine = open_engine(a.model, a, context);
  const std::vector<TaskSet> tasks = a.tasks.empty() ? std::vector<TaskSet>() : read_tasks(a.tasks);
  std::optional<Journal> journal;
  if (!a.journal.empty()) journal.emplace(a.journal);
  Journal* const lines = journal ? &*journal : nullptr;
  Json out = Json::object();
  if (!a.text.empty()) {
    const FidelityResult r = run_text(a, engine, lines, context);
    if (context.json) {
      out.update(text_json(r));
    } else {
      print_checked([&] { print_text(r); });
    }
  }
  if (!tasks.empty()) {
    const std::vector<TaskResult> results = run_tasks(a, tasks, engine, lines, context);
    if (context.json) {
      out["tasks"] = tasks_json(tasks, results);
    } else {
      print_checked([&] { print_tasks(tasks, results); });
    }
  }
  if (!context.json) return;
  print_checked([&] { fmt::print("{}\n", out.dump(2, ' ', false, Json::error_handler_t::replace)); });
}

}  // namespace

void add_eval(CLI::App& app, Context& context) {
  CLI::App* verb = app.add_subcommand("eval", "Measure a model: perplexity, divergence from a reference, tasks");
  auto a = std::make_shared<EvalArguments>();
  verb->add_option("model", a->model, "GGUF file")->required();
  verb->add_option("--text", a->text, "text file for perplexity (llama-perplexity's protocol)");
  verb->add_option("--against", a->against, "reference GGUF: KL divergence and agreement on the text");
  verb->add_option("--tasks", a->tasks, "folder with NAME.task.json and their data");
  verb->add_option("-o,--journal", a->journal,
                   "journal of answers and text chunks (JSONL): a stopped run goes on from it");
  verb->add_option("-c,--context", a->n_ctx,
                   "tokens of a text chunk (default 512) and of a task's context (default: "
                   "what its longest item needs)")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 24));
  verb->add_option("--kv", a->kv, "key/value cache: f16 or int8")->check(CLI::IsMember({"f16", "int8"}));
  verb->add_option("--template", a->chat_template, "chat template, when the model's own is missing or not known");
  a->packing = add_packing_flags(*verb);
  verb->callback([a, &context] { run_eval(*a, context); });
}

}  // namespace thimble::cli
