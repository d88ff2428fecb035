// What stock llama.cpp itself says of a quantized file: both models run in its libraries, in the protocol of
// eval/fidelity.h (and of its own llama-perplexity), so that a figure measured by Thimble can be checked by another.
//   thimble_stock_fidelity LIBRARIES REFERENCE MODEL TEXT N_CTX [--chunks N] [--threads N]
// LIBRARIES is the folder of llama.cpp v0.5.0's shared libraries (scripts/get_peer). --chunks: only the first N.
// Prints one JSON object: perplexity, reference_perplexity, mean_kl, p99_kl, top1_agreement, n_chunks.
//
// There are no headers to compile against. The functions used have had these parameters for years; the two parameter
// structs are taken as bytes, and the fields that are set are checked to hold the defaults of v0.5.0 first.
#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "bench/bench_program.h"
#include "eval/fidelity.h"
#include "model/logit_divergence.h"
#include "runtime/sampler.h"

namespace thimble {
namespace {

constexpr uint64_t kMaxTextBytes = uint64_t{1} << 28;

// llama_model_params and llama_context_params, both smaller than this, are passed in memory (System V ABI, 3.2.3),
// where a larger object with the same beginning does the same.
struct Parameters {
  std::array<uint32_t, 128> words;
};
enum ContextWord { kContext = 0, kBatch = 1, kMicroBatch = 2, kThreads = 7, kBatchThreads = 8 };

struct Batch {  // llama_batch
  int32_t n_tokens;
  int32_t* token;
  float* embd;
  int32_t* pos;
  int32_t* n_seq_id;
  int32_t** seq_id;
  int8_t* logits;
};

struct Stock {
  void (*load_backends)(const char* folder);
  Parameters (*model_defaults)();
  void* (*load)(const char* path, Parameters);
  Parameters (*context_defaults)();
  void* (*new_context)(void* model, Parameters);
  const void* (*vocabulary)(const void* model);
  int32_t (*vocabulary_size)(const void* vocabulary);
  Batch (*new_batch)(int32_t n_tokens, int32_t embd, int32_t n_seq);
  int32_t (*decode)(void* context, Batch);
  float* (*logits)(void* context);
  void* (*memory)(const void* context);
  void (*clear)(void* memory, bool data);
  void (*log_to)(void (*callback)(int, const char*, void*), void*);
};

template <typename Function>
void bind(void* library, const char* name, Function& out) {
  out = reinterpret_cast<Function>(dlsym(library, name));
  if (out == nullptr) fail(ErrorCode::not_found, "stock llama.cpp: found no function {}", name);
}

void* open_library(const std::string& folder, const std::string& prefix) {
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(prefix)) continue;
    if (void* library = dlopen(entry.path().c_str(), RTLD_NOW | RTLD_GLOBAL)) return library;
    fail(ErrorCode::io, "{}", dlerror());
  }
  fail(ErrorCode::not_found, "{}: found no {}*", folder, prefix);
}

Stock open_stock(const std::string& folder) {
  Stock s{};
  open_library(folder, "libggml-base.so");
  bind(open_library(folder, "libggml.v"), "ggml_backend_load_all_from_path", s.load_backends);
  void* llama = open_library(folder, "libllama.v0.5.0");
  bind(llama, "llama_model_default_params", s.model_defaults);
  bind(llama, "llama_model_load_from_file", s.load);
  bind(llama, "llama_context_default_params", s.context_defaults);
  bind(llama, "llama_init_from_model", s.new_context);
  bind(llama, "llama_model_get_vocab", s.vocabulary);
  bind(llama, "llama_vocab_n_tokens", s.vocabulary_size);
  bind(llama, "llama_batch_init", s.new_batch);
  bind(llama, "llama_decode", s.decode);
  bind(llama, "llama_get_logits", s.logits);
  bind(llama, "llama_get_memory", s.memory);
  bind(llama, "llama_memory_clear", s.clear);
  bind(llama, "llama_log_set", s.log_to);
  s.log_to([](int, const char*, void*) {}, nullptr);
  s.load_backends(folder.c_str());
  return s;
}

// A model of stock llama.cpp with a context of one chunk. Never freed: the program ends with it.
class StockModel {
 public:
  StockModel(const Stock& stock, const std::string& path, uint32_t n_ctx, uint32_t n_threads) : stock_(&stock) {
    void* model = stock.load(path.c_str(), stock.model_defaults());
    if (model == nullptr) fail(ErrorCode::unsupported, "{}: stock llama.cpp does not load it", path);
    Parameters p = stock.context_defaults();
    if (p.words[kContext] != 512 || p.words[kBatch] != 2048 || p.words[kMicroBatch] != 512 || p.words[kThreads] != 4 ||
        p.words[kBatchThreads] != 4) {
      fail(ErrorCode::unsupported, "stock llama.cpp: the context parameters are not those of v0.5.0");
    }
    p.words[kContext] = n_ctx;
    p.words[kBatch] = n_ctx;
    p.words[kThreads] = p.words[kBatchThreads] = n_threads;
    context_ = stock.new_context(model, p);
    if (context_ == nullptr) fail(ErrorCode::unsupported, "{}: stock llama.cpp makes no context", path);
    n_vocab_ = static_cast<size_t>(stock.vocabulary_size(stock.vocabulary(model)));
    batch_ = stock.new_batch(static_cast<int32_t>(n_ctx), 0, 1);
  }

  size_t n_vocab() const noexcept { return n_vocab_; }

  // Logits [n_scored, n_vocab] of the positions first .. tokens.size() - 2.
  std::vector<float> run(const std::vector<TokenId>& tokens, size_t first) {
    stock_->clear(stock_->memory(context_), true);
    batch_.n_tokens = static_cast<int32_t>(tokens.size());
    for (size_t i = 0; i < tokens.size(); ++i) {
      batch_.token[i] = tokens[i];
      batch_.pos[i] = static_cast<int32_t>(i);
      batch_.n_seq_id[i] = 1;
      batch_.seq_id[i][0] = 0;
      batch_.logits[i] = i >= first && i + 1 < tokens.size() ? 1 : 0;
    }
    if (stock_->decode(context_, batch_) != 0) fail(ErrorCode::internal, "stock llama.cpp: llama_decode failed");
    const float* logits = stock_->logits(context_);  // only of the tokens that asked, in their order
    return {logits, logits + (tokens.size() - 1 - first) * n_vocab_};
  }

 private:
  const Stock* stock_;
  void* context_ = nullptr;
  Batch batch_{};
  size_t n_vocab_ = 0;
};

struct Arguments {
  std::string libraries, reference, model, text;
  int64_t n_ctx = 0, chunks = INT64_MAX;
  int threads = 2;
};

double nll(std::span<const float> logits, TokenId next) {
  const float largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float l : logits) sum += std::exp(static_cast<double>(l) - largest);
  return largest + std::log(sum) - logits[static_cast<size_t>(next)];
}

// Tokens come from Thimble's tokenizer: the text is the same whoever runs it.
std::vector<std::vector<TokenId>> chunks_of(const Arguments& a) {
  EngineOptions options;
  options.packing.policy = PackPolicy::none;
  const auto engine = Engine::open(a.reference, options);
  const std::vector<TokenId> all =
      tokenize_for_chunks(engine->tokenizer(), read_file(a.text, kMaxTextBytes), a.n_ctx, a.text);
  std::vector<std::vector<TokenId>> out;
  const auto step = static_cast<size_t>(a.n_ctx);
  for (size_t at = 0; at + step <= all.size() && static_cast<int64_t>(out.size()) < a.chunks; at += step) {
    out.emplace_back(all.begin() + static_cast<std::ptrdiff_t>(at),
                     all.begin() + static_cast<std::ptrdiff_t>(at + step));
    if (engine->tokenizer().adds_bos()) out.back().front() = engine->tokenizer().bos();
  }
  return out;
}

void run(const Arguments& a) {
  const auto chunks = chunks_of(a);
  const Stock stock = open_stock(a.libraries);
  const auto n_ctx = static_cast<uint32_t>(a.n_ctx);
  StockModel reference(stock, a.reference, n_ctx, static_cast<uint32_t>(a.threads));
  StockModel model(stock, a.model, n_ctx, static_cast<uint32_t>(a.threads));
  if (reference.n_vocab() != model.n_vocab()) {
    fail(ErrorCode::invalid_argument, "{}: found {} tokens in the vocabulary, expected {} as in {}", a.model,
         model.n_vocab(), reference.n_vocab(), a.reference);
  }
  const auto first = static_cast<size_t>(a.n_ctx / 2);
  std::vector<ChunkScore> scores;
  for (const std::vector<TokenId>& tokens : chunks) {
    const std::vector<float> expected = reference.run(tokens, first);
    const std::vector<float> found = model.run(tokens, first);
    ChunkScore score;
    for (size_t row = 0; row + first + 1 < tokens.size(); ++row) {
      const auto p = std::span(expected).subspan(row * model.n_vocab(), model.n_vocab());
      const auto q = std::span(found).subspan(row * model.n_vocab(), model.n_vocab());
      const TokenId next = tokens[first + row + 1];
      const double loss = nll(q, next);
      ++score.n;
      score.nll += loss;
      score.nll_squared += loss * loss;
      score.reference_nll += nll(p, next);
      score.same_top += argmax(p) == argmax(q) ? 1 : 0;
      score.kl.push_back(static_cast<float>(kl_divergence(p, q)));
    }
    scores.push_back(std::move(score));
  }
  const FidelityResult result = summarise(scores);
  const Json json = {{"perplexity", result.perplexity.perplexity},
                     {"reference_perplexity", result.divergence->reference_perplexity},
                     {"mean_kl", result.divergence->mean_kl},
                     {"p99_kl", result.divergence->p99_kl},
                     {"top1_agreement", result.divergence->top1_agreement},
                     {"n_chunks", result.perplexity.n_chunks}};
  std::printf("%s\n", json.dump().c_str());
}

}  // namespace
}  // namespace thimble

int main(int argc, char** argv) {
  CLI::App app{"Fidelity of MODEL to REFERENCE on TEXT, by stock llama.cpp's own library", "thimble_stock_fidelity"};
  thimble::Arguments a;
  app.add_option("LIBRARIES", a.libraries)->required();
  app.add_option("REFERENCE", a.reference)->required();
  app.add_option("MODEL", a.model)->required();
  app.add_option("TEXT", a.text)->required();
  thimble::bench::add_count(app, "N_CTX", a.n_ctx)->required();
  thimble::bench::add_count(app, "--chunks", a.chunks);
  app.add_option("--threads", a.threads)->check(CLI::Range(1, 1024))->capture_default_str();
  return thimble::bench::run_program(app, argc, argv, [&] { thimble::run(a); });
}
