// thimble eval: perplexity, divergence from a reference, tasks; sharded, merged, or scored again from a journal.
#include <fmt/format.h>

#include <cstdio>
#include <filesystem>

#include "base/error.h"
#include "eval/evaluation.h"
#include "eval_report.h"
#include "gate_report.h"
#include "packing.h"
#include "standard_output.h"
#include "verbs.h"

namespace thimble::cli {

namespace {

struct EvalArguments {
  std::vector<std::string> models;
  std::string text;
  std::string against;
  std::string tasks;
  std::string output;
  std::string merge;
  std::string shard;
  std::string shard_by = "item";
  std::string reference_cache;
  std::string gate;
  std::string kv = "f16";
  std::string chat_template;
  int64_t n_ctx = 0;
  bool score_only = false;
  std::shared_ptr<const PackingFlags> packing;
};

// Where the reference's answers are kept when there is no output folder to keep them in.
std::string reference_folder(const EvalArguments& a) {
  if (!a.reference_cache.empty()) return a.reference_cache;
  if (!a.output.empty()) return {};
  const std::string packed = packed_folder();
  if (packed.empty()) {
    fail(ErrorCode::invalid_argument,
         "eval: found neither HOME nor XDG_CACHE_HOME, expected -o or --reference-cache for the reference's answers");
  }
  return (std::filesystem::path(packed).parent_path() / "reference").string();
}

EvaluationOptions evaluation_options(const EvalArguments& a, const Context& context) {
  EvaluationOptions o;
  o.models = a.models;
  o.tasks = a.tasks;
  o.text = a.text;
  o.against = a.against;
  o.kv = a.kv == "int8" ? ops::KvType::int8 : ops::KvType::f16;
  o.n_ctx = a.n_ctx;
  o.engine.n_threads = context.threads();
  o.engine.packing = a.packing->options();
  if (!a.chat_template.empty()) o.engine.chat_template = chat_template_from_name(a.chat_template);
  if (a.models.size() > 1 && !a.packing->file.empty()) {
    fail(ErrorCode::invalid_argument, "eval: --packed: found {} models, expected one: packed weights are of one model",
         a.models.size());
  }
  o.output = a.output;
  if (!a.against.empty() && !a.tasks.empty()) o.reference_folder = reference_folder(a);
  if (!a.shard.empty()) o.shard = parse_shard(a.shard, shard_by_from_name(a.shard_by));
  return o;
}

// With --gate, what the rules say of every model comes after the results and decides the exit code.
void show(const Evaluation& evaluation, const EvalArguments& a, Context& context) {
  GateRun gate;
  if (!a.gate.empty()) {
    std::vector<ScoredModel> models;
    for (const ModelEvaluation& m : evaluation.models) {
      models.push_back(scored_model(m.model.name, evaluation.tasks, m.tasks));
    }
    gate = run_gates(a.gate, models);
    context.exit_code = gate.exit_code;
  }
  if (!context.json) return print_checked([&] { print_evaluation(evaluation), fmt::print("{}", gate.text); });
  std::string out = eval_json(evaluation);
  if (!a.gate.empty()) {
    Json with_gate = Json::parse(out);
    with_gate["gate"] = gate.json;
    out = with_gate.dump(2, ' ', false, Json::error_handler_t::replace);
  }
  print_checked([&] { fmt::print("{}\n", out); });
}

void show_shard(const Evaluation& evaluation, const EvalArguments& a, const Context& context) {
  const Shard& shard = *evaluation.manifest.shard;
  if (context.json) {
    const Json out = {{"shard", shard_name(shard)}, {"output", a.output}, {"finished", true}};
    print_checked([&] { fmt::print("{}\n", out.dump(2, ' ', false, Json::error_handler_t::replace)); });
  } else {
    print_checked([&] {
      fmt::print("shard {} is finished; when all are: thimble eval --merge {}\n", shard_name(shard), a.output);
    });
  }
}

// Passes that read what others have run take no models.
void check_no_models(const EvalArguments& a, const char* flag) {
  if (a.models.empty()) return;
  fail(ErrorCode::invalid_argument, "eval: {} runs no model, found {}", flag, a.models.front());
}

void run_eval(const EvalArguments& a, Context& context) {
  if (!a.gate.empty()) check_gate_files(a.gate);  // before hours of work
  if (!a.merge.empty()) {
    check_no_models(a, "--merge");
    return show(merge_shards(a.merge, a.tasks), a, context);
  }
  if (a.score_only) {
    check_no_models(a, "--score-only");
    if (a.output.empty()) {
      fail(ErrorCode::invalid_argument, "eval: --score-only: found no -o, expected the folder of an evaluation");
    }
    return show(rescore(a.output, a.tasks), a, context);
  }
  const Evaluation evaluation = evaluate(evaluation_options(a, context), context.task());
  if (evaluation.manifest.shard) return show_shard(evaluation, a, context);
  show(evaluation, a, context);
}

}  // namespace

void add_eval(CLI::App& app, Context& context) {
  CLI::App* verb = app.add_subcommand("eval", "Measure models: perplexity, divergence from a reference, tasks");
  auto a = std::make_shared<EvalArguments>();
  verb->add_option("model", a->models, "GGUF files");
  verb->add_option("--text", a->text, "text file for perplexity (llama-perplexity's protocol)");
  verb->add_option("--against", a->against,
                   "reference GGUF: KL divergence and agreement, on the text and on its own answers to the tasks");
  verb->add_option("--tasks", a->tasks, "folder with NAME.task.json and their data");
  verb->add_option("-o,--output", a->output,
                   "folder for answers, measurements and results.json: a stopped run goes on from it");
  CLI::Option* shard = verb->add_option("--shard", a->shard, "do part i of N (i/N, from 0/N) into -o");
  verb->add_option("--shard-by", a->shard_by, "what a shard has a part of: item or candidate (models)")
      ->check(CLI::IsMember({"item", "candidate"}))
      ->needs(shard);
  verb->add_option("--merge", a->merge, "join the finished shards in this folder and score them")->excludes(shard);
  verb->add_flag("--score-only", a->score_only, "score what is in -o again, without a model")->excludes(shard);
  verb->add_option("--gate", a->gate, "rules.toml: exit code 12 when a model is worse than the last release")
      ->excludes(shard);
  verb->add_option("--reference-cache", a->reference_cache,
                   "folder of the reference's answers (default: in -o, else the user's cache)");
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
