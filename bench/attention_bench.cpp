// Prints what attention costs a decoded token on the 1.1B shape (22 layers, 32 heads, 4 key/value heads of 64): the
// milliseconds of store_kv and attention over all layers, for each cache type and context, beside the bytes of keys and
// values and the rate at which they were read; and the tokens per second of attention alone in a prompt chunk of 256.
// Usage: thimble_attention_bench [threads] [isa] [repetitions] [context]
// Between two tokens 64 MB of other memory are read, as the weights of a real model would: caches hold no keys.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "bench/bench_program.h"
#include "model/model.h"
#include "ops/ops.h"

namespace {

using thimble::KvCache;
using thimble::ops::KvType;

constexpr std::array<int64_t, 5> kContexts = {0, 64, 1024, 4096, 8192};
constexpr int64_t kChunk = 256;
constexpr size_t kOtherBytes = size_t{64} << 20;

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

thimble::ModelConfig shape_1b() {
  thimble::ModelConfig c;
  c.n_layer = 22;
  c.n_head = 32;
  c.n_head_kv = 4;
  c.head_dim = 64;
  return c;
}

std::vector<float> random_floats(size_t n) {
  std::vector<float> x(n);
  uint32_t state = 1;
  for (float& v : x) {
    state = state * 1664525u + 1013904223u;
    v = static_cast<float>(static_cast<int32_t>(state)) * 0x1p-31f;
  }
  return x;
}

class Bench {
 public:
  Bench(thimble::ThreadPool& pool, thimble::kernels::Isa isa, int repetitions)
      : backend_(thimble::ops::make_backend(pool, isa)), repetitions_(repetitions), other_(kOtherBytes / sizeof(int)) {}

  void measure(KvType type, int64_t n_past) {
    const int64_t n_ctx = n_past + kChunk;
    KvCache cache(config_, type, n_ctx);
    thimble::ops::AttentionScratch scratch(backend_.pool->n_threads(), n_ctx, config_.n_head, config_.head_dim);
    const auto q = random_floats(static_cast<size_t>(kChunk * config_.n_embd_q()));
    const auto kv = random_floats(static_cast<size_t>(kChunk * config_.n_embd_kv()) + 64);
    std::vector<float> out(q.size());
    const auto pass = [&](int64_t pos, int64_t n) {
      for (int64_t i = 0; i < config_.n_layer; ++i) {
        thimble::ops::store_kv(backend_, cache.layer(i), kv.data(), kv.data() + 64, n, config_.n_head_kv,
                               config_.head_dim, pos);
        if (pos + n < n_past) continue;
        thimble::ops::attention(backend_, {n, config_.n_head, config_.n_head_kv, config_.head_dim, pos, 0}, q.data(),
                                cache.layer(i), out.data(), scratch);
      }
    };
    for (int64_t pos = 0; pos < n_past; pos += kChunk) pass(pos, std::min(kChunk, n_past - pos));
    std::vector<double> decode;
    for (int i = 0; i < repetitions_; ++i) {
      int sum = 0;
      for (const int v : other_) sum += v;
      sink_ = sum;
      const double start = seconds();
      pass(n_past, 1);
      decode.push_back(seconds() - start);
    }
    std::sort(decode.begin(), decode.end());
    const double median = decode[decode.size() / 2];
    const double start = seconds();
    pass(n_past, kChunk);
    const double prefill = seconds() - start;
    const double megabytes =
        static_cast<double>(cache.bytes()) * static_cast<double>(n_past + 1) / static_cast<double>(n_ctx) * 1e-6;
    std::printf("%-5s context %5lld  decode %7.3f ms a token, %6.1f MB, %6.2f GB/s   chunk of %lld: %8.1f tokens/s\n",
                type == KvType::f16 ? "f16" : "int8", static_cast<long long>(n_past), median * 1e3, megabytes,
                megabytes * 1e-3 / median, static_cast<long long>(kChunk), static_cast<double>(kChunk) / prefill);
  }

 private:
  thimble::ops::Backend backend_;
  int repetitions_;
  thimble::ModelConfig config_ = shape_1b();
  std::vector<int> other_;
  volatile int sink_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"What attention costs on the 1.1B shape", "thimble_attention_bench"};
  int threads = 2;
  std::string isa;
  int repetitions = 15;
  int64_t only = -1;
  thimble::bench::add_threads(app, threads);
  thimble::bench::add_isa(app, isa);
  thimble::bench::add_count(app, "repetitions", repetitions);
  app.add_option("context", only)->check(CLI::IsMember(std::vector<int64_t>(kContexts.begin(), kContexts.end())));
  return thimble::bench::run_program(app, argc, argv, [&] {
    thimble::ThreadPool pool(threads);
    const auto chosen = thimble::kernels::isa_from_name(isa);
    Bench bench(pool, chosen.value_or(thimble::kernels::best_isa(thimble::host_cpu())), repetitions);
    for (const int64_t n_past : kContexts) {
      if (only >= 0 && only != n_past) continue;
      for (const KvType type : {KvType::f16, KvType::int8}) bench.measure(type, n_past);
    }
  });
}
