// Feeding and generating must not take memory: a phone that is short of it would stall or fail in mid-answer. Counts
// every operator new and aligned_alloc (AlignedBuffer) of this test program, on all threads.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "model/synthetic_model.h"
#include "model/synthetic_shapes_test.h"
#include "runtime/engine.h"

namespace {
std::atomic<int64_t> allocations{0};

void* counted(size_t alignment, size_t size) noexcept {
  allocations.fetch_add(1, std::memory_order_relaxed);
  void* memory = nullptr;
  return ::posix_memalign(&memory, alignment, size == 0 ? 1 : size) == 0 ? memory : nullptr;
}

void* counted_or_throw(size_t size) {
  void* const memory = counted(alignof(std::max_align_t), size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
}  // namespace

// All of them: memory from an operator that is not replaced must not reach one that is. Not inlined, or GCC would see
// the free() of one half beside the operator new of the other and report a mismatch.
[[gnu::noinline]] void* operator new(size_t size) {
  return counted_or_throw(size);
}
[[gnu::noinline]] void* operator new[](size_t size) {
  return counted_or_throw(size);
}
[[gnu::noinline]] void* operator new(size_t size, const std::nothrow_t&) noexcept {
  return counted(alignof(std::max_align_t), size);
}
[[gnu::noinline]] void* operator new[](size_t size, const std::nothrow_t&) noexcept {
  return counted(alignof(std::max_align_t), size);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete[](void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete[](void* memory, size_t) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, const std::nothrow_t&) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete[](void* memory, const std::nothrow_t&) noexcept {
  std::free(memory);
}
extern "C" void* aligned_alloc(size_t alignment, size_t size) noexcept {
  return counted(alignment, size);
}

namespace thimble {
namespace {

TEST(Allocations, TheCounterCounts) {
  const int64_t before = allocations.load();
  // Through volatile pointers: a compiler may leave out allocations that nobody can see.
  void* volatile object = ::operator new(8);
  ::operator delete(object);
  void* volatile aligned = std::aligned_alloc(64, 64);
  std::free(aligned);
  EXPECT_EQ(allocations.load() - before, 2);
}

TEST(Allocations, NonePerTokenOrChunk) {
  ThreadPool pool(1);
  const ModelConfig config = tiny_config();
  SyntheticOptions synthetic;
  synthetic.vocabulary = true;
  const SyntheticModel model =
      make_synthetic_model(config, synthetic_tensors(config, TensorType::f32, false), synthetic, pool);
  EngineOptions engine_options;
  engine_options.n_threads = 3;
  const auto engine =
      Engine::from_gguf(GgufFile::parse({model.image.data(), model.image.size()}, "tiny"), engine_options);
  for (const ops::KvType kv : {ops::KvType::f16, ops::KvType::int8}) {
    SessionOptions options;
    options.n_ctx = 64;
    options.n_batch = 4;
    options.kv = kv;
    options.sampling.temperature = 0.8f;
    options.sampling.repetition_penalty = 1.1f;
    Session session(engine, options);
    const std::vector<TokenId> prompt = {1, 17, 200, 33, 33, 90, 5, 263, 4};
    const int64_t before = allocations.load();
    session.feed(prompt);
    for (int i = 0; i < 20; ++i) session.next();
    session.feed(prompt);
    for (int i = 0; i < 10; ++i) session.next();
    EXPECT_EQ(allocations.load() - before, 0);
  }
}

}  // namespace
}  // namespace thimble
