// Chunk by chunk: the reference's log probabilities of the scored positions are kept (n_ctx/2 rows of the vocabulary),
// then every model runs over the same chunk.
#include "eval/fidelity.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/hash.h"
#include "base/json.h"
#include "model/logit_divergence.h"

namespace thimble {

namespace {

struct Chunks {
  std::vector<std::vector<TokenId>> tokens;  // what is fed: BOS in first place where the vocabulary wants it
  int64_t first_scored = 0;                  // positions first_scored .. n_ctx - 2 are scored
};

Chunks cut_text(const Engine& engine, const std::string& text, const FidelitySettings& settings) {
  const int64_t n_ctx = settings.n_ctx;
  if (n_ctx < 4 || n_ctx > engine.config().n_ctx_train) {
    fail(ErrorCode::invalid_argument, "{}: found chunks of {} tokens, expected 4 to {}, the trained context",
         engine.gguf().source(), n_ctx, engine.config().n_ctx_train);
  }
  const std::vector<TokenId> all = tokenize_for_chunks(engine.tokenizer(), text, n_ctx, settings.text_source);
  const size_t step = static_cast<size_t>(n_ctx);
  Chunks out;
  out.first_scored = n_ctx / 2;
  for (size_t at = 0; at + step <= all.size(); at += step) {
    out.tokens.emplace_back(all.begin() + static_cast<std::ptrdiff_t>(at),
                            all.begin() + static_cast<std::ptrdiff_t>(at + step));
    if (engine.tokenizer().adds_bos()) out.tokens.back().front() = engine.tokenizer().bos();
  }
  return out;
}

// What the reference says about the scored positions of one chunk.
struct ReferenceRows {
  size_t n_vocab = 0;
  std::vector<float> log_p;  // [n_scored, n_vocab]
  std::vector<TokenId> top;  // [n_scored]
  double nll = 0;
  std::span<const float> row(size_t i) const noexcept { return std::span(log_p).subspan(i * n_vocab, n_vocab); }
};

using Sink = FunctionRef<void(size_t row, std::span<const float> logits, TokenId next)>;

// Runs a chunk and hands out the rows of its scored positions.
void score_chunk(Session& session, const std::vector<TokenId>& tokens, int64_t first_scored, Sink sink,
                 const Task& cancel) {
  const int64_t last = static_cast<int64_t>(tokens.size()) - 1;
  session.score(
      tokens,
      [&](int64_t position, std::span<const float> logits) {
        if (position < first_scored || position >= last) return;
        sink(static_cast<size_t>(position - first_scored), logits, tokens[static_cast<size_t>(position) + 1]);
      },
      cancel);
}

void check_finite(const Session& session, double nll) {
  if (std::isfinite(nll)) return;
  fail(ErrorCode::corrupt, "{}: found a log likelihood of {}, expected a finite one: the weights are damaged",
       session.engine().gguf().source(), -nll);
}

ReferenceRows run_reference(Session& session, const std::vector<TokenId>& tokens, int64_t first_scored,
                            const Task& cancel) {
  ReferenceRows out;
  out.n_vocab = static_cast<size_t>(session.engine().config().n_vocab);
  const auto take = [&](size_t, std::span<const float> logits, TokenId next) {
    const double normaliser = log_normaliser(logits);
    for (const float l : logits) out.log_p.push_back(static_cast<float>(l - normaliser));
    out.top.push_back(argmax(logits));
    out.nll += normaliser - logits[static_cast<size_t>(next)];
  };
  score_chunk(session, tokens, first_scored, take, cancel);
  check_finite(session, out.nll);
  return out;
}

ChunkScore run_model(Session& session, const std::vector<TokenId>& tokens, int64_t first_scored,
                     const ReferenceRows* reference, const Task& cancel) {
  ChunkScore out;
  const auto take = [&](size_t row, std::span<const float> logits, TokenId next) {
    const double normaliser = log_normaliser(logits);
    const double nll = normaliser - logits[static_cast<size_t>(next)];
    ++out.n;
    out.nll += nll;
    out.nll_squared += nll * nll;
    if (reference == nullptr) return;
    out.kl.push_back(static_cast<float>(divergence(reference->row(row), logits, normaliser)));
    out.same_top += argmax(logits) == reference->top[row];
  };
  score_chunk(session, tokens, first_scored, take, cancel);
  check_finite(session, out.nll);
  if (reference != nullptr) out.reference_nll = reference->nll;
  return out;
}

Json to_json(const ChunkScore& s) {
  return {{"n", s.n},          {"nll", s.nll}, {"nll2", s.nll_squared}, {"reference_nll", s.reference_nll},
          {"top", s.same_top}, {"kl", s.kl}};
}

ChunkScore chunk_from_json(const std::string& text, const std::string& key) {
  const std::string source = "journal entry " + key;
  const Json json = parse_json(text, source);
  const JsonObject o(json, source);
  ChunkScore out;
  out.n = o.integer("n", 0, INT32_MAX);
  out.nll = o.number("nll");
  out.nll_squared = o.number("nll2");
  out.reference_nll = o.number("reference_nll");
  out.same_top = o.integer("top", 0, INT32_MAX);
  for (const Json& v : o.at("kl")) {
    if (!v.is_number()) fail(ErrorCode::corrupt, "{}: key 'kl': found {}, expected numbers", source, describe_json(v));
    out.kl.push_back(v.get<float>());
  }
  return out;
}

void check_vocabularies(const Engine& model, const Engine& reference) {
  if (model.config().n_vocab == reference.config().n_vocab) return;
  fail(ErrorCode::invalid_argument, "{}: found a vocabulary of {} tokens, expected {} as in {}", model.gguf().source(),
       model.config().n_vocab, reference.config().n_vocab, reference.gguf().source());
}

std::string run_hash(const TextRun& r) {
  const Json parts = {r.model_key, r.reference_key, r.text_hash, r.n_ctx, static_cast<int>(r.kv)};
  return content_hash(parts.dump());
}

std::string chunk_key(const TextRun& run, size_t chunk) {
  return fmt::format("fidelity/{}/{}", chunk, run_hash(run));
}

// Its line comes after those of all chunks and says how many they are.
std::string chunk_count_key(const TextRun& run) {
  return fmt::format("fidelity/chunks/{}", run_hash(run));
}

// One sweep over the chunks for all models.
class Sweep {
 public:
  Sweep(std::span<const FidelityModel> models, const std::shared_ptr<const Engine>& reference, const std::string& text,
        const FidelitySettings& settings, const Task& task)
      : models_(models), reference_(reference), settings_(settings), task_(task), cancel_{{}, {}, task.cancel} {
    const Engine& tokenizing = reference ? *reference : *models.front().engine;
    if (reference) {
      for (const FidelityModel& m : models) check_vocabularies(*m.engine, *reference);
    }
    chunks_ = cut_text(tokenizing, text, settings);
    text_hash_ = content_hash(text);
    scores_.resize(models.size());
    sessions_.resize(models.size() + 1);
  }

  std::vector<FidelityResult> run() {
    for (size_t c = 0; c < chunks_.tokens.size(); ++c) run_chunk(c);
    for (size_t m = 0; settings_.journal != nullptr && m < models_.size(); ++m) {
      const std::string key = chunk_count_key(text_run(m));
      if (!settings_.journal->find(key)) settings_.journal->append(key, Json(chunks_.tokens.size()).dump());
    }
    std::vector<FidelityResult> out;
    for (const std::vector<ChunkScore>& s : scores_) out.push_back(summarise(s));
    return out;
  }

 private:
  TextRun text_run(size_t model) const {
    return {models_[model].key, settings_.reference_key, text_hash_, settings_.n_ctx, settings_.kv};
  }

  // Sessions are made when first needed: a resumed run may not need the reference at all.
  Session& session(size_t index, const std::shared_ptr<const Engine>& engine, ops::KvType kv) {
    if (!sessions_[index]) {
      SessionOptions options;
      options.n_ctx = settings_.n_ctx;
      options.kv = kv;
      sessions_[index] = std::make_unique<Session>(engine, options);
    }
    return *sessions_[index];
  }

  void run_chunk(size_t c) {
    std::optional<ReferenceRows> reference_rows;
    const std::vector<TokenId>& tokens = chunks_.tokens[c];
    for (size_t m = 0; m < models_.size(); ++m) {
      task_.check("fidelity");
      const std::string k = chunk_key(text_run(m), c);
      const std::optional<std::string> known = settings_.journal ? settings_.journal->find(k) : std::nullopt;
      if (known) {
        scores_[m].push_back(chunk_from_json(*known, k));
        continue;
      }
      if (reference_ && !reference_rows) {
        Session& s = session(models_.size(), reference_, ops::KvType::f16);
        reference_rows = run_reference(s, tokens, chunks_.first_scored, cancel_);
      }
      Session& s = session(m, models_[m].engine, settings_.kv);
      const ReferenceRows* rows = reference_rows ? &*reference_rows : nullptr;
      scores_[m].push_back(run_model(s, tokens, chunks_.first_scored, rows, cancel_));
      if (settings_.journal) settings_.journal->append(k, to_json(scores_[m].back()).dump());
      task_.report(c * models_.size() + m + 1, chunks_.tokens.size() * models_.size(), "perplexity");
    }
  }

  std::span<const FidelityModel> models_;
  const std::shared_ptr<const Engine>& reference_;
  const FidelitySettings& settings_;
  const Task& task_;
  Task cancel_;  // without progress
  Chunks chunks_;
  std::string text_hash_;
  std::vector<std::vector<ChunkScore>> scores_;     // [model][chunk]
  std::vector<std::unique_ptr<Session>> sessions_;  // [model], then the reference's
};

double quantile(const std::vector<float>& sorted, double share) noexcept {
  const double position = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (position - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

}  // namespace

std::vector<TokenId> tokenize_for_chunks(const Tokenizer& tokenizer, const std::string& text, int64_t n_ctx,
                                         const std::string& source) {
  std::vector<TokenId> tokens = tokenizer.encode_prompt(text, SpecialTokens::as_text);
  if (static_cast<int64_t>(tokens.size()) < n_ctx) {
    fail(ErrorCode::invalid_argument, "{}: the text has {} tokens, expected at least one chunk of {}", source,
         tokens.size(), n_ctx);
  }
  return tokens;
}

DivergenceResult divergence_of(std::vector<float> kl) {
  double sum = 0;
  for (const float v : kl) sum += v;
  std::sort(kl.begin(), kl.end());
  DivergenceResult d;
  d.mean_kl = sum / static_cast<double>(kl.size());
  d.median_kl = quantile(kl, 0.5);
  d.p99_kl = quantile(kl, 0.99);
  d.max_kl = kl.back();
  return d;
}

std::optional<FidelityResult> text_from_journal(const TextRun& run, const Journal& journal) {
  const std::optional<std::string> count = journal.find(chunk_count_key(run));
  if (!count) return std::nullopt;
  const std::string source = "journal entry " + chunk_count_key(run);
  const Json n = parse_json(*count, source);
  if (!n.is_number_unsigned() || n.get<uint64_t>() == 0) {
    fail(ErrorCode::corrupt, "{}: found {}, expected a number of chunks", source, describe_json(n));
  }
  std::vector<ChunkScore> chunks;
  for (size_t c = 0; c < n.get<uint64_t>(); ++c) {
    const std::string key = chunk_key(run, c);
    const std::optional<std::string> line = journal.find(key);
    if (!line) return std::nullopt;
    chunks.push_back(chunk_from_json(*line, key));
  }
  return summarise(chunks);
}

FidelityResult summarise(std::span<const ChunkScore> chunks) {
  ChunkScore total;
  for (const ChunkScore& c : chunks) {
    total.n += c.n;
    total.nll += c.nll;
    total.nll_squared += c.nll_squared;
    total.reference_nll += c.reference_nll;
    total.same_top += c.same_top;
    total.kl.insert(total.kl.end(), c.kl.begin(), c.kl.end());
  }
  const auto n = static_cast<double>(total.n);
  const double mean = total.nll / n;
  const double variance = total.nll_squared / n - mean * mean;
  FidelityResult out;
  out.perplexity.perplexity = std::exp(mean);
  if (variance > 0 && total.n > 1) {
    out.perplexity.standard_error = out.perplexity.perplexity * std::sqrt(variance / (n - 1));
  }
  out.perplexity.n_chunks = static_cast<int64_t>(chunks.size());
  out.perplexity.n_scored = total.n;
  if (total.kl.empty()) return out;
  DivergenceResult d = divergence_of(std::move(total.kl));
  d.top1_agreement = static_cast<double>(total.same_top) / n;
  d.reference_perplexity = std::exp(total.reference_nll / n);
  out.divergence = d;
  return out;
}

std::vector<FidelityResult> measure_fidelity(std::span<const FidelityModel> models,
                                             const std::shared_ptr<const Engine>& reference, const std::string& text,
                                             const FidelitySettings& settings, const Task& task) {
  if (models.empty()) return {};
  return Sweep(models, reference, text, settings, task).run();
}

FidelityResult measure_fidelity(const std::shared_ptr<const Engine>& model,
                                const std::shared_ptr<const Engine>& reference, const std::string& text, int64_t n_ctx,
                                ops::KvType kv, const Task& task) {
  const FidelityModel one{model, ""};
  FidelitySettings settings;
  settings.n_ctx = n_ctx;
  settings.kv = kv;
  return measure_fidelity(std::span(&one, 1), reference, text, settings, task).front();
}

}  // namespace thimble
