// `thimble bench`: prefill and decode speed of a file, or of a named shape with random weights and no file at all.
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <optional>
#include <set>

#include "base/cpu.h"
#include "base/error.h"
#include "bench_report.h"
#include "device/read_bandwidth.h"
#include "device/region_cost.h"
#include "device/shapes.h"
#include "format/gguf_writer.h"
#include "isa_option.h"
#include "kernels/matmul_kernel.h"
#include "model/model.h"
#include "model/synthetic_model.h"
#include "packing.h"
#include "quantize/scheme.h"
#include "runtime/engine.h"
#include "standard_output.h"
#include "stopwatch.h"
#include "verbs.h"

namespace thimble::cli {

namespace {

using Clock = std::chrono::steady_clock;

// Long enough for a few passes over the buffer, short beside a repetition.
constexpr double kBandwidthSeconds = 0.1;

struct BenchOptions {
  std::string model;
  std::string shape;
  std::string scheme = "q4_k_m";
  bool scheme_given = false;
  std::string save;
  std::string kv = "f16";
  std::string isa;
  std::optional<int64_t> n_prompt_wanted;  // default: 512, or what the trained context leaves
  int64_t n_prompt = 512;
  int64_t n_generate = 64;
  int64_t depth = 0;
  int64_t n_batch = SessionOptions{}.n_batch;
  int reps = 5;
  std::shared_ptr<const PackingFlags> packing;
};

// All names, by asking for each value of the enumeration.
// A model of this shape with the types that the scheme would choose, and a vocabulary when it goes to a file.
SyntheticModel make_shape(const BenchOptions& options, ThreadPool& pool) {
  const ModelShape& shape = find_model_shape(options.shape);
  std::vector<GgufTensorPlan> tensors = synthetic_tensors(shape.config, TensorType::f16, shape.tied_output);
  std::vector<TensorShape> shapes;
  for (const GgufTensorPlan& t : tensors) shapes.push_back({t.name, t.ne, t.n_dims, t.type});
  const auto types = choose_types(recipe_from_scheme(options.scheme), shape.config, shapes, false);
  for (size_t i = 0; i < tensors.size(); ++i) tensors[i].type = types[i].type;
  SyntheticOptions synthetic;
  synthetic.vocabulary = !options.save.empty();
  return make_synthetic_model(shape.config, std::move(tensors), synthetic, pool);
}

void save(const GgufFile& gguf, const std::string& path) {
  GgufMetadata metadata;
  for (const GgufKeyValue& entry : gguf.metadata()) metadata.set(entry);
  std::vector<GgufTensorPlan> plans;
  for (const GgufTensor& t : gguf.tensors()) {
    plans.push_back({std::string(t.name), t.view.type, t.n_dims, t.view.ne});
  }
  GgufWriter writer(path, metadata, plans);
  for (const GgufTensor& t : gguf.tensors()) writer.write(t.view.data);
  writer.commit();
}

struct Measured {
  std::vector<BenchRepetition> repetitions;
  double first_token_seconds = 0.0;
  uint64_t peak_rss_bytes = 0;
  uint64_t huge_page_bytes = 0;
  uint64_t activation_bytes = 0;
  uint64_t kv_bytes = 0;
};

uint64_t peak_rss_bytes() {
  rusage usage = {};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;  // Linux counts kibibytes
}

// Memory of this process in huge pages, its own and those of mapped files; 0 where the system does not tell.
uint64_t huge_page_bytes() {
  std::ifstream rollup("/proc/self/smaps_rollup");
  uint64_t sum = 0;
  for (std::string line; std::getline(rollup, line);) {
    unsigned long long kib = 0;
    if (std::sscanf(line.c_str(), "AnonHugePages: %llu kB", &kib) == 1 ||
        std::sscanf(line.c_str(), "ShmemPmdMapped: %llu kB", &kib) == 1 ||
        std::sscanf(line.c_str(), "FilePmdMapped: %llu kB", &kib) == 1) {
      sum += uint64_t{kib} * 1024;
    }
  }
  return sum;
}

// Both tests of a repetition begin after `depth` tokens of context, which are computed once.
Measured measure(const Model& model, ThreadPool& pool, const BenchOptions& options, const Task& task) {
  const int64_t n_ctx = options.depth + std::max({options.n_prompt, options.n_generate, int64_t{1}});
  KvCache cache(model.config(), options.kv == "int8" ? ops::KvType::int8 : ops::KvType::f16, n_ctx);
  ForwardPass forward(model, pool, std::min(options.n_batch, n_ctx), n_ctx);
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < n_ctx; ++i) tokens.push_back(static_cast<int32_t>(i * 7919 % model.config().n_vocab));
  const auto run = [&](int64_t begin, int64_t n_tokens, int64_t step) {
    const Clock::time_point start = Clock::now();
    for (int64_t pos = begin; pos < begin + n_tokens; pos += step) {
      task.check("bench");
      const auto n = static_cast<size_t>(std::min(step, begin + n_tokens - pos));
      const bool last = pos + step >= begin + n_tokens;
      // A prompt wants the logits of its last token only, as Session asks for them.
      const LogitsFor logits = last || step == 1 ? LogitsFor::last : LogitsFor::none;
      forward.run(std::span(tokens).subspan(static_cast<size_t>(pos), n), pos, cache, logits);
    }
    return static_cast<double>(n_tokens) / seconds_since(start);
  };
  Measured out;
  out.first_token_seconds = 1.0 / run(0, 1, 1);
  run(0, std::min<int64_t>(n_ctx, 8), 8);  // first use of what only chunks need
  if (options.depth > 0) run(0, options.depth, forward.n_batch());
  // All memory of the model is in use; the buffer of the bandwidth comes after it.
  out.peak_rss_bytes = peak_rss_bytes();
  out.huge_page_bytes = huge_page_bytes();
  out.activation_bytes = forward.scratch_bytes();
  out.kv_bytes = cache.bytes();
  const ReadBandwidth bandwidth(pool);
  for (int rep = 0; rep < options.reps; ++rep) {
    task.report(static_cast<uint64_t>(rep), static_cast<uint64_t>(options.reps), "bench");
    BenchRepetition& r = out.repetitions.emplace_back();
    if (options.n_prompt > 0) r.prefill = run(options.depth, options.n_prompt, forward.n_batch());
    r.region_seconds = region_seconds(pool);
    r.bandwidth = bandwidth.mean(kBandwidthSeconds);
    if (options.n_generate == 0) continue;
    r.decode = run(options.depth, options.n_generate, 1);
    r.bandwidth = (r.bandwidth + bandwidth.mean(kBandwidthSeconds)) / 2;
  }
  return out;
}

// Weights that one decoded token reads: everything but the embedding, of which it reads one row (unless it is the
// head).
uint64_t bytes_per_token(const Model& model) {
  const bool tied = model.output().view.data.data() == model.token_embedding().data.data();
  return tied ? model.weight_bytes()
              : model.weight_bytes() - model.token_embedding().data.size() + model.token_embedding().row_bytes();
}

std::vector<std::string> kernel_names(const Model& model) {
  std::set<std::string> names;
  names.emplace(model.output().kernel->name);
  for (const LayerWeights& layer : model.layers()) {
    for (const ops::Weight* w : {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down}) {
      names.emplace(w->kernel->name);
    }
  }
  return {names.begin(), names.end()};
}

Json report(const Model& model, const BenchOptions& options, const Measured& measured, int n_threads) {
  const PackedWeights* packed = model.packed().get();
  Json out = {{"model", options.shape.empty() ? options.model : options.shape},
              {"scheme", options.shape.empty() ? Json(nullptr) : Json(options.scheme)},
              {"cpu", cpu_model_name()},
              {"isa", std::string(kernels::isa_name(model.isa()))},
              {"kernels", kernel_names(model)},
              {"threads", n_threads},
              {"kv", options.kv},
              {"depth", options.depth},
              {"n_prompt", options.n_prompt},
              {"n_generate", options.n_generate},
              {"n_batch", options.n_batch},
              {"weight_bytes", model.weight_bytes()},
              {"weight_bytes_per_token", bytes_per_token(model)},
              {"packed", nullptr},
              {"first_token_seconds", measured.first_token_seconds},
              {"peak_rss_bytes", measured.peak_rss_bytes},
              {"huge_page_bytes", measured.huge_page_bytes},
              {"activation_bytes", measured.activation_bytes},
              {"kv_bytes", measured.kv_bytes}};
  if (packed != nullptr) {
    out["packed"] = {{"bytes", packed->bytes()},
                     {"path", packed->path().empty() ? Json(nullptr) : Json(packed->path())}};
  }
  add_speeds(out, measured.repetitions);
  return out;
}

void check_options(const BenchOptions& options) {
  if (options.model.empty() == options.shape.empty()) {
    fail(ErrorCode::invalid_argument, "bench: expected either a model file or --shape");
  }
  if (options.scheme_given && options.shape.empty()) {
    fail(ErrorCode::invalid_argument, "--type: expected --shape; a file has its types already");
  }
  if (!options.save.empty() && options.shape.empty()) {
    fail(ErrorCode::invalid_argument, "--save: expected --shape; a file needs no copy");
  }
  if (!options.packing->file.empty() && !options.shape.empty()) {
    fail(ErrorCode::invalid_argument, "--packed: expected a model file; a shape has other weights every time");
  }
  if (options.n_prompt_wanted.value_or(1) + options.n_generate < 1) {
    fail(ErrorCode::invalid_argument, "bench: found 0 prompt and 0 generated tokens, expected at least one");
  }
}

// The weights as the program would use them: a file with its sidecar, a shape packed into memory.
void pack(Model& model, const GgufFile& gguf, const BenchOptions& options, ThreadPool& pool, const Task& task) {
  PackOptions packing = options.packing->options();
  if (!options.shape.empty() && packing.policy == PackPolicy::sidecar) packing.policy = PackPolicy::memory;
  model.use_packed(load_packed(gguf, plan_packing(model.matrices(), model.isa()), packing, pool, task));
}

void run_bench(Context& context, BenchOptions& options) {
  check_options(options);
  const kernels::Isa isa = choose_isa(options.isa);
  ThreadPool pool(context.threads(), {.pin_workers = true, .pin_caller = true});
  ops::make_backend(pool, isa);  // refuses an instruction set this processor lacks before anything is built
  SyntheticModel synthetic;
  GgufFile file;
  Clock::time_point start = Clock::now();
  if (options.shape.empty()) {
    file = GgufFile::open(options.model);
  } else {
    synthetic = make_shape(options, pool);
    if (!options.save.empty()) save(synthetic.gguf, options.save);
    start = Clock::now();
  }
  const GgufFile& gguf = options.shape.empty() ? file : synthetic.gguf;
  Model model(gguf, isa);
  // More than the trained context is allowed: speed does not depend on sense.
  options.n_prompt = options.n_prompt_wanted.value_or(std::min<int64_t>(model.config().n_ctx_train, 512));
  pack(model, gguf, options, pool, context.task());
  const double load_seconds = seconds_since(start);
  const Measured measured = measure(model, pool, options, context.task());
  Json result = report(model, options, measured, pool.n_threads());
  result["load_seconds"] = load_seconds;
  print_checked([&] {
    if (context.json) {
      fmt::print("{}\n", result.dump(1, ' ', false, Json::error_handler_t::replace));
    } else {
      print_bench(result);
    }
  });
}

}  // namespace

void add_bench(CLI::App& app, Context& context) {
  CLI::App* verb =
      app.add_subcommand("bench", "Measure prefill and decode speed of a model, or of a shape without any file.");
  auto options = std::make_shared<BenchOptions>();
  verb->add_option("model", options->model, "GGUF file");
  verb->add_option("--shape", options->shape, "named shape with random weights, such as tinyllama-1.1b or mistral-7b");
  CLI::Option* type = verb->add_option("--type", options->scheme, "scheme of the random weights");
  verb->add_option("--save", options->save, "also write the random model, with a vocabulary, to this GGUF file");
  verb->add_option("-p,--prompt", options->n_prompt_wanted, "prompt tokens (default: 512); 0: none")
      ->check(CLI::Range(0, 1 << 20));
  verb->add_option("-n,--generate", options->n_generate, "generated tokens; 0: none")->check(CLI::Range(0, 1 << 20));
  verb->add_option("-d,--depth", options->depth, "tokens of context that come before both")
      ->check(CLI::Range(0, 1 << 20));
  verb->add_option("-b,--batch", options->n_batch, "prompt tokens computed at a time")->check(CLI::Range(1, 1 << 16));
  verb->add_option("-r,--reps", options->reps, "repetitions")->check(CLI::Range(1, 1000));
  verb->add_option("--kv", options->kv, "key/value cache: f16 or int8")->check(CLI::IsMember({"f16", "int8"}));
  verb->add_option("--isa", options->isa, isa_option_help());
  options->packing = add_packing_flags(*verb);
  verb->callback([&context, options, type] {
    options->scheme_given = type->count() > 0;
    run_bench(context, *options);
  });
}

}  // namespace thimble::cli
