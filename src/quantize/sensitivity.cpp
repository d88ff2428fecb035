// Divergences are sums over positions in a fixed order, so that a measurement does not depend on threads.
#include "quantize/sensitivity.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/error.h"
#include "base/function_ref.h"
#include "base/hash.h"
#include "base/json.h"
#include "model/logit_divergence.h"

namespace thimble {

namespace {

constexpr int64_t kBeforeLayers = -1;  // the embedding is where a run starts

// Layer whose input a tensor changes nothing before: its own, n_layer for the head.
int64_t first_changed_layer(std::string_view tensor, int64_t n_layer) {
  constexpr std::string_view kPrefix = "blk.";
  if (tensor == "token_embd.weight") return kBeforeLayers;
  if (tensor == "output.weight") return n_layer;
  int64_t layer = -1;
  if (tensor.starts_with(kPrefix)) {
    std::from_chars(tensor.data() + kPrefix.size(), tensor.data() + tensor.size(), layer);
  }
  if (layer < 0 || layer >= n_layer) fail(ErrorCode::not_found, "sensitivity: the model has no matrix {}", tensor);
  return layer;
}

void check_sequences(const SensitivitySettings& settings, const ModelConfig& config, const std::string& source) {
  if (settings.sequences.empty() || settings.score_every < 1) {
    fail(ErrorCode::invalid_argument, "{}: sensitivity: found no tokens to measure on", source);
  }
  for (const std::vector<int32_t>& tokens : settings.sequences) {
    const auto n = static_cast<int64_t>(tokens.size());
    if (n < 2 || n > config.n_ctx_train) {
      fail(ErrorCode::invalid_argument, "{}: sensitivity: found a sequence of {} tokens, expected 2 to {}", source, n,
           config.n_ctx_train);
    }
    for (const int32_t id : tokens) {
      if (id >= 0 && id < config.n_vocab) continue;
      fail(ErrorCode::invalid_argument, "{}: sensitivity: found token {}, expected 0 to {}", source, id,
           config.n_vocab - 1);
    }
  }
}

int64_t longest(const std::vector<std::vector<int32_t>>& sequences) noexcept {
  size_t n = 0;
  for (const std::vector<int32_t>& tokens : sequences) n = std::max(n, tokens.size());
  return static_cast<int64_t>(n);
}

// Layers run one at a time: a cache of one is enough.
ModelConfig one_layer(ModelConfig config) {
  config.n_layer = 1;
  return config;
}

std::string hash_of(const SensitivitySettings& settings) {
  ContentHasher hasher;
  for (const std::vector<int32_t>& tokens : settings.sequences) {
    hasher.update(fmt::format("{};", tokens.size()));
    hasher.update(std::as_bytes(std::span(tokens)));
  }
  hasher.update(Json({settings.model_key, settings.rounding_key, settings.score_every}).dump());
  return hasher.hash();
}

}  // namespace

struct SensitivityMeter::State {
  struct Sequence {
    std::vector<int32_t> tokens;
    std::vector<int64_t> scored;               // positions
    std::vector<AlignedBuffer<float>> stream;  // [n_layer + 1] inputs of the layers and of the head: [n_tokens, n_embd]
    std::vector<float> log_p;                  // [n_scored, n_vocab] of the float model
  };

  State(const GgufFile& file, kernels::Isa isa, SensitivitySettings given, RoundFn round_fn, ThreadPool& threads,
        Task given_task)
      : gguf(&file),
        settings(std::move(given)),
        round(std::move(round_fn)),
        pool(&threads),
        task(std::move(given_task)),
        model(file, isa),
        forward((check_sequences(settings, model.config(), file.source()), model), threads, longest(settings.sequences),
                longest(settings.sequences)),
        cache(one_layer(model.config()), ops::KvType::f16, longest(settings.sequences)),
        key_hash(hash_of(settings)) {}

  const ModelConfig& config() const noexcept { return model.config(); }
  void prepare();
  void run_layer(int64_t layer, const Sequence& sequence) noexcept {
    const auto length = static_cast<int64_t>(sequence.tokens.size());
    forward.run_layer(layer, std::span(&length, 1), x.data(), cache,
                      [](MatmulInput, const float*, int64_t, int64_t) {});
  }
  const float* head(const Sequence& sequence, const float* x);
  double divergence_from(int64_t first_layer);
  double divergence_of(const Sequence& sequence, const float* logits);
  CandidateWeights rounded(const GgufTensor& tensor, TensorType type) const;
  double rounding_error(const GgufTensor& tensor, TensorType type);
  double cached(std::string_view what, std::string_view tensor, TensorType type, FunctionRef<double()> measure);
  std::string key(std::string_view what, std::string_view tensor, TensorType type) const {
    return fmt::format("{}/{}/{}/{}", what, tensor, traits(type).name, key_hash);
  }

  const GgufFile* gguf;
  SensitivitySettings settings;
  RoundFn round;
  ThreadPool* pool;
  Task task;
  Model model;
  ForwardPass forward;
  KvCache cache;
  std::string key_hash;
  std::vector<Sequence> sequences;
  AlignedBuffer<float> x;     // [longest, n_embd]
  AlignedBuffer<float> rows;  // [most scored, n_embd]
  std::vector<double> row_kl;
  int64_t n_scored = 0;
};

// Runs the float model and keeps what measurements start from and compare with.
void SensitivityMeter::State::prepare() {
  const auto width = static_cast<size_t>(config().n_embd);
  const auto n_vocab = static_cast<size_t>(config().n_vocab);
  size_t most_scored = 0;
  for (const std::vector<int32_t>& tokens : settings.sequences) {
    Sequence& s = sequences.emplace_back();
    s.tokens = tokens;
    const auto n = static_cast<int64_t>(tokens.size());
    for (int64_t position = n / 2; position < n; position += settings.score_every) s.scored.push_back(position);
    most_scored = std::max(most_scored, s.scored.size());
    n_scored += static_cast<int64_t>(s.scored.size());
  }
  x = AlignedBuffer<float>(static_cast<size_t>(longest(settings.sequences)) * width);
  rows = AlignedBuffer<float>(most_scored * width);
  row_kl.resize(most_scored);
  for (size_t i = 0; i < sequences.size(); ++i) {
    Sequence& s = sequences[i];
    task.check("sensitivity");
    task.report(i, sequences.size(), "float model");
    const size_t n = s.tokens.size() * width;
    forward.embed(s.tokens, x.data());
    for (int64_t layer = 0; layer <= config().n_layer; ++layer) {
      AlignedBuffer<float>& kept = s.stream.emplace_back(n);
      std::memcpy(kept.data(), x.data(), n * sizeof(float));
      if (layer < config().n_layer) run_layer(layer, s);
    }
    const float* logits = head(s, x.data());
    s.log_p.resize(s.scored.size() * n_vocab);
    for (size_t r = 0; r < s.scored.size(); ++r) {
      const std::span<const float> row(logits + r * n_vocab, n_vocab);
      const double normaliser = log_normaliser(row);
      if (!std::isfinite(normaliser)) {
        fail(ErrorCode::corrupt, "{}: sensitivity: found logits that are not finite: the weights are damaged",
             gguf->source());
      }
      for (size_t v = 0; v < n_vocab; ++v) s.log_p[r * n_vocab + v] = static_cast<float>(row[v] - normaliser);
    }
  }
}

// Logits [n_scored, n_vocab] of the scored positions.
const float* SensitivityMeter::State::head(const Sequence& sequence, const float* stream) {
  const auto width = static_cast<size_t>(config().n_embd);
  for (size_t r = 0; r < sequence.scored.size(); ++r) {
    std::memcpy(rows.data() + r * width, stream + static_cast<size_t>(sequence.scored[r]) * width,
                width * sizeof(float));
  }
  return forward.head(rows.data(), static_cast<int64_t>(sequence.scored.size())).data();
}

double SensitivityMeter::State::divergence_of(const Sequence& sequence, const float* logits) {
  const auto n_vocab = static_cast<size_t>(config().n_vocab);
  const auto n = static_cast<int64_t>(sequence.scored.size());
  pool->parallel_for(n, 4, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const size_t at = static_cast<size_t>(r) * n_vocab;
      const std::span<const float> row(logits + at, n_vocab);
      row_kl[static_cast<size_t>(r)] =
          divergence(std::span(sequence.log_p).subspan(at, n_vocab), row, log_normaliser(row));
    }
  });
  double sum = 0;
  for (int64_t r = 0; r < n; ++r) sum += row_kl[static_cast<size_t>(r)];
  return sum;
}

// Mean divergence of the model as it is bound now from the float model, nothing before `first_layer` having changed.
double SensitivityMeter::State::divergence_from(int64_t first_layer) {
  double sum = 0;
  for (const Sequence& s : sequences) {
    task.check("sensitivity");
    if (first_layer == kBeforeLayers) {
      forward.embed(s.tokens, x.data());
    } else {
      const AlignedBuffer<float>& kept = s.stream[static_cast<size_t>(first_layer)];
      std::memcpy(x.data(), kept.data(), kept.size() * sizeof(float));
    }
    for (int64_t layer = std::max<int64_t>(first_layer, 0); layer < config().n_layer; ++layer) {
      run_layer(layer, s);
    }
    sum += divergence_of(s, head(s, x.data()));
  }
  const double mean = sum / static_cast<double>(n_scored);
  if (!std::isfinite(mean)) {
    fail(ErrorCode::corrupt, "{}: sensitivity: found a divergence of {}, expected a finite one", gguf->source(), mean);
  }
  return mean;
}

CandidateWeights SensitivityMeter::State::rounded(const GgufTensor& tensor, TensorType type) const {
  CandidateWeights out = round(tensor, type);
  const auto row = row_bytes(out.type, static_cast<uint64_t>(tensor.view.ne[0]));
  if (!row || out.data.size() != *row * static_cast<uint64_t>(tensor.view.n_rows())) {
    fail(ErrorCode::internal, "sensitivity: tensor {}: rounding gave {} bytes of {}, expected {} rows of {}",
         tensor.name, out.data.size(), traits(out.type).name, tensor.view.n_rows(), row.value_or(0));
  }
  return out;
}

double SensitivityMeter::State::rounding_error(const GgufTensor& tensor, TensorType type) {
  const CandidateWeights weights = rounded(tensor, type);
  const int64_t n_in = tensor.view.ne[0];
  const auto found = settings.importance.find(std::string(tensor.name));
  const bool weighted = found != settings.importance.end() && found->second.size() == static_cast<size_t>(n_in);
  const auto width = static_cast<size_t>(n_in);
  const size_t bytes = weights.data.size() / static_cast<size_t>(tensor.view.n_rows());
  std::vector<double> errors(static_cast<size_t>(tensor.view.n_rows()));
  std::vector<double> squares(errors.size());
  std::vector<float> floats(2 * width * static_cast<size_t>(pool->n_threads()));
  std::atomic<int64_t> next{0};
  pool->run([&](int thread_index) {
    float* const before = floats.data() + static_cast<size_t>(thread_index) * 2 * width;
    float* const after = before + width;
    for (int64_t r = next++; r < tensor.view.n_rows(); r = next++) {
      const auto row = static_cast<size_t>(r);
      traits(tensor.view.type).decode(tensor.view.row(r), before, n_in);
      traits(weights.type).decode(weights.data.data() + row * bytes, after, n_in);
      for (size_t i = 0; i < width; ++i) {
        const double importance = weighted ? static_cast<double>(found->second[i]) : 1.0;
        const double difference = static_cast<double>(after[i]) - before[i];
        errors[row] += importance * difference * difference;
        squares[row] += importance * before[i] * before[i];
      }
    }
  });
  const double error = std::accumulate(errors.begin(), errors.end(), 0.0);
  const double square = std::accumulate(squares.begin(), squares.end(), 0.0);
  return square > 0 ? error / square : 0.0;
}

// A number from the cache, or measured and kept there.
double SensitivityMeter::State::cached(std::string_view what, std::string_view tensor, TensorType type,
                                       FunctionRef<double()> measure) {
  Journal* const journal = settings.cache;
  const std::string k = key(what, tensor, type);
  if (const auto known = journal == nullptr ? std::nullopt : journal->find(k)) {
    const std::string source = "sensitivity cache, entry " + k;
    const Json json = parse_json(*known, source);
    const double value = JsonObject(json, source).number("value");
    if (value < 0) fail(ErrorCode::corrupt, "{}: key 'value': found {}, expected 0 or more", source, value);
    return value;
  }
  const double value = measure();
  if (journal != nullptr) journal->append(k, Json({{"value", value}}).dump());
  return value;
}

SensitivityMeter::SensitivityMeter(const GgufFile& model, kernels::Isa isa, SensitivitySettings settings, RoundFn round,
                                   ThreadPool& pool, Task task)
    : state_(std::make_unique<State>(model, isa, std::move(settings), std::move(round), pool, std::move(task))) {
  state_->prepare();
}

SensitivityMeter::~SensitivityMeter() = default;

double SensitivityMeter::measure(std::string_view tensor, TensorType type) {
  return state_->cached("sensitivity", tensor, type, [&] {
    const std::pair<std::string, TensorType> change(tensor, type);
    return measure_together(std::span(&change, 1));
  });
}

double SensitivityMeter::rounding_error(std::string_view tensor, TensorType type) {
  return state_->cached("rounding_error", tensor, type,
                        [&] { return state_->rounding_error(state_->gguf->tensor(tensor), type); });
}

double SensitivityMeter::measure_together(std::span<const std::pair<std::string, TensorType>> changes) {
  State& s = *state_;
  struct Restore {  // also when rounding throws
    Model& model;
    std::vector<std::pair<std::string, TensorView>> originals;
    ~Restore() {
      for (const auto& [name, view] : originals) model.replace_matrix(name, view);
    }
  } restore{s.model, {}};
  std::vector<CandidateWeights> rounded;
  rounded.reserve(changes.size());
  int64_t first = s.config().n_layer;
  for (const auto& [name, type] : changes) {
    first = std::min(first, first_changed_layer(name, s.config().n_layer));
    const GgufTensor& tensor = s.gguf->tensor(name);
    const CandidateWeights& weights = rounded.emplace_back(s.rounded(tensor, type));
    const TensorView view = {weights.type, tensor.view.ne, {weights.data.data(), weights.data.size()}};
    const TensorView original = s.model.matrix(name);
    s.model.replace_matrix(name, view);
    restore.originals.emplace_back(name, original);
  }
  return s.divergence_from(first);
}

uint64_t SensitivityMeter::cost(std::string_view tensor, TensorType type) const {
  const State& s = *state_;
  if (s.settings.cache != nullptr && s.settings.cache->find(s.key("sensitivity", tensor, type))) return 0;
  const int64_t n_layer = s.config().n_layer;
  return static_cast<uint64_t>(n_layer + 1 - std::max<int64_t>(first_changed_layer(tensor, n_layer), 0));
}

int64_t SensitivityMeter::n_scored() const noexcept {
  return state_->n_scored;
}

uint64_t SensitivityMeter::memory_bytes() const noexcept {
  uint64_t floats = 0;
  for (const State::Sequence& s : state_->sequences) {
    floats += s.log_p.size();
    for (const AlignedBuffer<float>& kept : s.stream) floats += kept.size();
  }
  return floats * sizeof(float) + state_->forward.scratch_bytes() + state_->cache.bytes();
}

namespace {

TensorType nearest_to_4_5_bits(const std::vector<TensorType>& types) noexcept {
  return *std::min_element(types.begin(), types.end(), [](TensorType a, TensorType b) {
    return std::fabs(traits(a).bits_per_weight() - 4.5) < std::fabs(traits(b).bits_per_weight() - 4.5);
  });
}

}  // namespace

std::vector<TypeLoss> measure_sensitivity(SensitivityMeter& meter, std::span<const AllocatableTensor> tensors,
                                          SensitivityEffort effort, const Task& task) {
  std::vector<TypeLoss> measured;
  for (const AllocatableTensor& tensor : tensors) {
    if (effort == SensitivityEffort::one_type) {
      measured.push_back({tensor.name, nearest_to_4_5_bits(tensor.types), 0});
    } else {
      for (const TensorType type : tensor.types) measured.push_back({tensor.name, type, 0});
    }
  }
  uint64_t total = 0;
  for (const TypeLoss& m : measured) total += meter.cost(m.tensor, m.type);
  uint64_t done = 0;
  for (TypeLoss& m : measured) {
    task.check("sensitivity");
    const uint64_t cost = meter.cost(m.tensor, m.type);
    m.loss = meter.measure(m.tensor, m.type);
    done += cost;
    if (cost > 0) task.report(done, total, fmt::format("sensitivity of {}", m.tensor));
  }
  if (effort == SensitivityEffort::every_type) return measured;
  std::vector<TypeLoss> out;
  for (size_t i = 0; i < tensors.size(); ++i) {
    task.check("sensitivity");
    task.report(i, tensors.size(), fmt::format("rounding errors of {}", tensors[i].name));
    const TypeLoss& known = measured[i];
    const double error = meter.rounding_error(known.tensor, known.type);
    for (const TensorType type : tensors[i].types) {
      // A tensor without any error has no loss in a type of fewer bits that can be told from it either.
      const double ratio = type == known.type || error == 0 ? 1.0 : meter.rounding_error(known.tensor, type) / error;
      out.push_back({known.tensor, type, known.loss * ratio});
    }
  }
  return out;
}

}  // namespace thimble
