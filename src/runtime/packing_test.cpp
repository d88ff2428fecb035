// Engines with packed weights: the same logits bit for bit, and one copy of the weights in memory.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "model/synthetic_model.h"
#include "runtime/engine.h"

namespace thimble {
namespace {

namespace fs = std::filesystem;

ModelConfig config_of(int64_t n_layer, int64_t n_embd, int64_t n_ff) {
  ModelConfig c;
  c.architecture = "llama";
  c.n_layer = n_layer;
  c.n_embd = n_embd;
  c.n_head = n_embd / 64;
  c.n_head_kv = c.n_head / 2;
  c.head_dim = 64;
  c.n_rot = 64;
  c.n_ff = n_ff;
  c.n_vocab = 300;
  c.n_ctx_train = 64;
  return c;
}

std::vector<float> logits_of(const std::shared_ptr<const Engine>& engine) {
  std::vector<float> all;
  SessionOptions options;
  options.n_ctx = 32;
  options.n_batch = 7;
  Session session(engine, options);
  const std::vector<TokenId> tokens = {1, 5, 9, 200, 33, 7, 7, 120, 299, 4, 64};
  session.score(tokens,
                [&](int64_t, std::span<const float> logits) { all.insert(all.end(), logits.begin(), logits.end()); });
  session.feed(std::vector<TokenId>{17});  // one token: the other kind of kernel
  all.insert(all.end(), session.logits().begin(), session.logits().end());
  return all;
}

TEST(Packing, LogitsAreThoseOfTheFileLayout) {
  ThreadPool pool(1);
  for (const TypeTraits& type : all_types()) {
    if (!type.is_quantized && type.type != TensorType::f16 && type.type != TensorType::bf16) continue;
    const ModelConfig config = config_of(2, 256, 512);
    SyntheticOptions synthetic;
    synthetic.vocabulary = true;
    const SyntheticModel model =
        make_synthetic_model(config, synthetic_tensors(config, type.type, true), synthetic, pool);
    EngineOptions options;
    options.n_threads = 2;
    options.packing.policy = PackPolicy::none;
    const auto plain = Engine::from_gguf(model.gguf, options);
    options.packing.policy = PackPolicy::memory;
    const auto packed = Engine::from_gguf(model.gguf, options);
    EXPECT_EQ(plain->model().packed(), nullptr);
    // 2 layers of 7 matrices, and the head; more when the embedding counted beside it.
    EXPECT_EQ(packed->model().matrices().size(), 15u);
    const bool reads_panels = ops::packed_lanes(type.type, packed->model().isa()) > 0;
    EXPECT_EQ(packed->model().packed() != nullptr, reads_panels) << type.name;
    EXPECT_EQ(packed->model().output().packed != nullptr, reads_panels) << type.name;
    const std::vector<float> expected = logits_of(plain), found = logits_of(packed);
    ASSERT_EQ(found.size(), expected.size());
    EXPECT_EQ(std::memcmp(found.data(), expected.data(), found.size() * sizeof(float)), 0) << type.name;
    // A second engine of the same file takes the first one's.
    options.packed = packed->model().packed();
    const auto shared = Engine::from_gguf(model.gguf, options);
    EXPECT_EQ(shared->model().packed(), packed->model().packed());
  }
}

uint64_t peak_bytes() {
  rusage usage = {};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

// Grown by in a process of its own, while a model is opened and answers.
uint64_t peak_of_a_run(const std::string& path, const PackOptions& packing) {
  int ends[2];
  if (::pipe(ends) != 0) return UINT64_MAX;
  const pid_t child = ::fork();
  if (child == 0) {
    const uint64_t before = peak_bytes();
    EngineOptions options;
    options.n_threads = 2;
    options.packing = packing;
    const bool answered = !logits_of(Engine::open(path, options)).empty();
    const uint64_t grown = answered ? peak_bytes() - before : UINT64_MAX;
    ::_exit(::write(ends[1], &grown, sizeof(grown)) == sizeof(grown) ? 0 : 1);
  }
  ::close(ends[1]);
  uint64_t grown = UINT64_MAX;
  if (::read(ends[0], &grown, sizeof(grown)) != sizeof(grown)) grown = UINT64_MAX;
  ::close(ends[0]);
  ::waitpid(child, nullptr, 0);
  return grown;
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

// The first load packs, the second maps what it wrote. A second copy would be 150 MB more.
TEST(SlowPacking, PeakMemoryIsOneCopyOfTheWeights) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers keep shadow memory resident";
#endif
  const fs::path folder = fs::temp_directory_path() / fmt::format("thimble_packing_test_{}", ::getpid());
  fs::create_directories(folder);
  const std::string path = (folder / "model.gguf").string();
  uint64_t weights = 0, kv = 0;
  {
    ThreadPool pool(2);
    const ModelConfig config = config_of(8, 2048, 5632);
    SyntheticOptions synthetic;
    synthetic.vocabulary = true;
    const SyntheticModel model =
        make_synthetic_model(config, synthetic_tensors(config, TensorType::q4_k, false), synthetic, pool);
    save(model.gguf, path);
    for (const GgufTensor& t : model.gguf.tensors()) weights += t.view.data.size();
    kv = kv_bytes_per_token(config, ops::KvType::f16) * 32;
  }
  ASSERT_GT(weights, uint64_t{150} << 20);
  PackOptions packing;
  packing.policy = PackPolicy::sidecar;
  packing.folder = (folder / "cache").string();
  const uint64_t most = weights + weights / 20 + kv + (uint64_t{64} << 20);
  EXPECT_LE(peak_of_a_run(path, packing), most) << "first load; weights " << weights;
  EXPECT_LE(peak_of_a_run(path, packing), most) << "second load; weights " << weights;
  packing.policy = PackPolicy::memory;
  EXPECT_LE(peak_of_a_run(path, packing), most) << "packed into memory; weights " << weights;
  fs::remove_all(folder);
}

}  // namespace
}  // namespace thimble
