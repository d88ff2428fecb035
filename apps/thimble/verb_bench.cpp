// `thimble bench`: prefill and decode speed of a file, or of a named shape with random weights and no file at all.
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <optional>
#include <set>

#include "base/cpu.h"
#include "base/error.h"
#include "base/json.h"
#include "device/profile.h"
#include "device/shapes.h"
#include "format/gguf_writer.h"
#include "kernels/matmul_kernel.h"
#include "model/model.h"
#include "model/synthetic_model.h"
#include "quantize/scheme.h"
#include "standard_output.h"
#include "verbs.h"

namespace thimble::cli {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kBatch = 256;  // as SessionOptions::n_batch

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
  int reps = 5;
};

struct Speeds {
  std::vector<double> prefill, decode;  // tokens/s of each repetition
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

kernels::Isa choose_isa(const std::string& name) {
  if (name.empty()) return kernels::best_isa(host_cpu());
  const std::optional<kernels::Isa> isa = kernels::isa_from_name(name);
  if (isa) return *isa;
  fail(ErrorCode::invalid_argument, "--isa: found \"{}\", expected scalar, avx2, avx512_vnni, neon or neon_dotprod",
       name);
}

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

// Every repetition reads the prompt into an empty cache, then goes on from there one token at a time.
Speeds measure(const Model& model, ThreadPool& pool, const BenchOptions& options, const Task& task) {
  const int64_t n_ctx = options.n_prompt + options.n_generate;
  KvCache cache(model.config(), options.kv == "int8" ? ops::KvType::int8 : ops::KvType::f16, n_ctx);
  ForwardPass forward(model, pool, std::min(kBatch, n_ctx), n_ctx);
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < n_ctx; ++i) tokens.push_back(static_cast<int32_t>(i * 7919 % model.config().n_vocab));
  const auto run = [&](int64_t begin, int64_t end, int64_t step) {
    const Clock::time_point start = Clock::now();
    for (int64_t pos = begin; pos < end; pos += step) {
      task.check("bench");
      const auto n = static_cast<size_t>(std::min(step, end - pos));
      forward.run(std::span(tokens).subspan(static_cast<size_t>(pos), n), pos, cache, LogitsFor::last);
    }
    return static_cast<double>(end - begin) / std::chrono::duration<double>(Clock::now() - start).count();
  };
  run(0, std::min<int64_t>(n_ctx, 8), 8);  // pages of the weights and first use of the pool
  Speeds speeds;
  for (int rep = 0; rep < options.reps; ++rep) {
    task.report(static_cast<uint64_t>(rep), static_cast<uint64_t>(options.reps), "bench");
    if (options.n_prompt > 0) speeds.prefill.push_back(run(0, options.n_prompt, forward.n_batch()));
    if (options.n_generate > 0) speeds.decode.push_back(run(options.n_prompt, n_ctx, 1));
  }
  return speeds;
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

uint64_t peak_rss_bytes() {
  rusage usage = {};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;  // Linux counts kibibytes
}

Json speed_json(int64_t n, const std::vector<double>& all) {
  return all.empty() ? Json(nullptr) : Json{{"n", n}, {"median", median(all)}, {"all", all}};
}

Json report(const Model& model, const BenchOptions& options, const Speeds& speeds, int n_threads) {
  const uint64_t bytes = bytes_per_token(model);
  // Peak first: measuring the bandwidth takes a large buffer of its own.
  const uint64_t rss = peak_rss_bytes();
  const double bandwidth = measure_read_bandwidth(n_threads);
  Json out = {{"model", options.shape.empty() ? options.model : options.shape},
              {"scheme", options.shape.empty() ? Json(nullptr) : Json(options.scheme)},
              {"cpu", cpu_model_name()},
              {"isa", std::string(kernels::isa_name(model.isa()))},
              {"kernels", kernel_names(model)},
              {"threads", n_threads},
              {"kv", options.kv},
              {"prefill_tokens_per_s", speed_json(options.n_prompt, speeds.prefill)},
              {"decode_tokens_per_s", speed_json(options.n_generate, speeds.decode)},
              {"weight_bytes", model.weight_bytes()},
              {"weight_bytes_per_token", bytes},
              {"read_bandwidth_gb_per_s", bandwidth / 1e9},
              {"peak_rss_bytes", rss}};
  if (!speeds.decode.empty()) {
    const double rate = static_cast<double>(bytes) * median(speeds.decode);
    out["weight_gb_per_s"] = rate / 1e9;
    out["bandwidth_share"] = rate / bandwidth;
  }
  return out;
}

void print_speed(const char* label, const Json& speed) {
  if (speed.is_null()) return;
  fmt::print("{:<22}{:.1f} t/s for {} tokens (median of", label, speed["median"].get<double>(),
             speed["n"].get<int64_t>());
  for (const Json& value : speed["all"]) fmt::print(" {:.1f}", value.get<double>());
  fmt::print(")\n");
}

void print_report(const Json& r) {
  fmt::print("{:<22}{}{}\n", "model", r["model"].get<std::string>(),
             r["scheme"].is_null() ? "" : " " + r["scheme"].get<std::string>());
  fmt::print("{:<22}{}, {}, {} threads, kv {}\n", "machine", r["cpu"].get<std::string>(), r["isa"].get<std::string>(),
             r["threads"].get<int>(), r["kv"].get<std::string>());
  fmt::print("{:<22}", "kernels");
  for (const Json& name : r["kernels"]) fmt::print("{} ", name.get<std::string>());
  fmt::print("\n");
  print_speed("prefill", r["prefill_tokens_per_s"]);
  print_speed("decode", r["decode_tokens_per_s"]);
  fmt::print("{:<22}{:.1f} MB, {:.1f} MB read for each token\n", "weights", r["weight_bytes"].get<double>() / 1e6,
             r["weight_bytes_per_token"].get<double>() / 1e6);
  fmt::print("{:<22}{:.1f} GB/s measured", "read bandwidth", r["read_bandwidth_gb_per_s"].get<double>());
  if (r.contains("weight_gb_per_s")) {
    fmt::print("; decode reads weights at {:.1f} GB/s, {:.0f} % of it", r["weight_gb_per_s"].get<double>(),
               100 * r["bandwidth_share"].get<double>());
  }
  fmt::print("\n{:<22}{:.1f} MB\n", "peak memory", r["peak_rss_bytes"].get<double>() / 1e6);
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
  if (options.n_prompt_wanted.value_or(1) + options.n_generate < 1) {
    fail(ErrorCode::invalid_argument, "bench: found 0 prompt and 0 generated tokens, expected at least one");
  }
}

void run_bench(Context& context, BenchOptions& options) {
  check_options(options);
  const kernels::Isa isa = choose_isa(options.isa);
  ThreadPool pool(context.threads());
  ops::make_backend(pool, isa);  // refuses an instruction set this processor lacks before anything is built
  SyntheticModel synthetic;
  GgufFile file;
  if (options.shape.empty()) {
    file = GgufFile::open(options.model);
  } else {
    synthetic = make_shape(options, pool);
    if (!options.save.empty()) save(synthetic.gguf, options.save);
  }
  const Model model(options.shape.empty() ? file : synthetic.gguf, isa);
  const int64_t room = model.config().n_ctx_train - options.n_generate;
  options.n_prompt = options.n_prompt_wanted.value_or(std::clamp<int64_t>(room, 0, 512));
  if (options.n_prompt > room) {
    fail(ErrorCode::invalid_argument, "bench: found {} tokens, expected at most {}, the trained context",
         options.n_prompt + options.n_generate, model.config().n_ctx_train);
  }
  const Speeds speeds = measure(model, pool, options, context.task());
  const Json result = report(model, options, speeds, pool.n_threads());
  print_checked([&] {
    if (context.json) {
      fmt::print("{}\n", result.dump(1, ' ', false, Json::error_handler_t::replace));
    } else {
      print_report(result);
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
  verb->add_option("-r,--reps", options->reps, "repetitions")->check(CLI::Range(1, 1000));
  verb->add_option("--kv", options->kv, "key/value cache: f16 or int8")->check(CLI::IsMember({"f16", "int8"}));
  verb->add_option("--isa", options->isa, "force an instruction set: scalar, avx2, avx512_vnni, neon, neon_dotprod");
  verb->callback([&context, options, type] {
    options->scheme_given = type->count() > 0;
    run_bench(context, *options);
  });
}

}  // namespace thimble::cli
