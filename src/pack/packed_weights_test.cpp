// What a load does when sidecars are there, stale, cannot be written, or are written by two at once.
#include "pack/packed_weights.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <csignal>

#include "ops/ops.h"
#include "pack/model_file_test.h"

namespace thimble {
namespace {

using pack_test::error_of;
using pack_test::expect_rows;
using pack_test::plan_for;
using pack_test::small_tensors;
using pack_test::write_model;

class PackedWeightsTest : public pack_test::ModelFileTest {
 protected:
  static constexpr int kLanes = 8;

  std::shared_ptr<const PackedWeights> load(const PackOptions& options) {
    const GgufFile gguf = GgufFile::open(model());
    const PackPlan plan = plan_for(gguf, kLanes);
    auto packed = load_packed(gguf, plan, options, pool_, task_);
    if (packed != nullptr) expect_rows(plan, *packed);
    return packed;
  }
  std::string cached() const {
    const GgufFile gguf = GgufFile::open(model());
    return sidecar_in(cache(), model(), identify_model(gguf), kLanes);
  }
  ino_t inode(const std::string& of) const {
    struct stat info {};
    EXPECT_EQ(::stat(of.c_str(), &info), 0);
    return info.st_ino;
  }
};

TEST_F(PackedWeightsTest, NoneMemoryAndSidecar) {
  PackOptions options = options_;
  options.policy = PackPolicy::none;
  EXPECT_EQ(load(options), nullptr);
  options.policy = PackPolicy::memory;
  const auto memory = load(options);
  ASSERT_NE(memory, nullptr);
  EXPECT_EQ(memory->path(), "");
  EXPECT_TRUE(files(cache()).empty());
  const auto file = load(options_);
  ASSERT_NE(file, nullptr);
  EXPECT_EQ(file->path(), cached());
  EXPECT_EQ(file->bytes(), memory->bytes());
}

TEST_F(PackedWeightsTest, NothingToPack) {
  const GgufFile gguf = GgufFile::open(model());
  EXPECT_EQ(load_packed(gguf, {}, options_, pool_, task_), nullptr);
  EXPECT_TRUE(files(cache()).empty());
}

TEST_F(PackedWeightsTest, SecondLoadWritesNothing) {
  load(options_);
  const ino_t before = inode(cached());
  load(options_);
  EXPECT_EQ(inode(cached()), before);
  EXPECT_EQ(files(cache()).size(), 1u);
}

TEST_F(PackedWeightsTest, SmallModelsGoToMemoryUnlessTheirSidecarExists) {
  PackOptions options = options_;
  options.min_bytes = kMinSidecarBytes;
  EXPECT_EQ(load(options)->path(), "");
  EXPECT_TRUE(files(cache()).empty());
  load(options_);
  EXPECT_EQ(load(options)->path(), cached());
}

TEST_F(PackedWeightsTest, BesideTheModelComesFirst) {
  load(options_);
  const std::string beside = sidecar_beside(model(), kLanes);
  fs::copy_file(cached(), beside);
  EXPECT_EQ(load(options_)->path(), beside);
  // A stale one is packed again where it lies, when the cache has none.
  fs::remove(cached());
  overwrite(beside, 40, "damage");
  EXPECT_EQ(load(options_)->path(), beside);
  EXPECT_TRUE(said(LogLevel::info, "does not have the hash"));
  EXPECT_TRUE(files(cache()).empty());
}

TEST_F(PackedWeightsTest, StaleSidecarsAreRebuilt) {
  load(options_);
  const std::string whole = content(cached());
  const auto damage = [&](const std::function<void()>& how) {
    how();
    const auto packed = load(options_);  // compares every row
    ASSERT_NE(packed, nullptr);
    EXPECT_EQ(packed->path(), cached());
    EXPECT_EQ(content(cached()), whole);
  };
  damage([&] { write_file_atomically(cached(), ""); });
  damage([&] { write_file_atomically(cached(), whole.substr(0, whole.size() - 1)); });
  damage([&] { overwrite(cached(), 100, "?"); });
  damage([&] { overwrite(cached(), 8, "\x07"); });
}

TEST_F(PackedWeightsTest, AModelWithNewContentIsPackedAgain) {
  load(options_);
  write_model(model(), 5, small_tensors());
  load(options_);
  EXPECT_EQ(files(cache()).size(), 2u) << "the old one may belong to a copy of the old model";
}

TEST_F(PackedWeightsTest, FolderInItsPlaceOrNoFolderMeansMemory) {
  fs::create_directories(cached());
  EXPECT_EQ(load(options_)->path(), "");
  EXPECT_TRUE(said(LogLevel::warning, "folder"));
  PackOptions options = options_;
  options.folder = model() + "/not/a/folder";
  EXPECT_EQ(load(options)->path(), "");
  EXPECT_TRUE(said(LogLevel::warning, "cannot create the folder"));
  options.folder.clear();
  EXPECT_EQ(load(options)->path(), "");
}

TEST_F(PackedWeightsTest, FullDiskMeansMemoryAndLeavesNothing) {
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small = {8192, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto packed = load(options_);
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, old_handler);
  ASSERT_NE(packed, nullptr);
  EXPECT_EQ(packed->path(), "");
  EXPECT_TRUE(said(LogLevel::warning, "cannot write"));
  EXPECT_TRUE(files(cache()).empty());
}

TEST_F(PackedWeightsTest, ReadOnlyFolderMeansMemory) {
  fs::permissions(cache(), fs::perms::owner_read | fs::perms::owner_exec | fs::perms::others_all);
  fs::permissions(cache(), fs::perms::owner_write | fs::perms::others_write, fs::perm_options::remove);
  EXPECT_TRUE(pack_test::unprivileged([&] {
    const auto packed = load(options_);
    return packed != nullptr && packed->path().empty() && said(LogLevel::warning, "cannot create");
  }));
  fs::permissions(cache(), fs::perms::owner_all);
}

TEST_F(PackedWeightsTest, AnExplicitFileIsUsedOrRefused) {
  PackOptions options = options_;
  options.file = path("mine");
  error_of(ErrorCode::not_found, [&] { load(options); });
  load(options_);
  fs::copy_file(cached(), options.file);
  EXPECT_EQ(load(options)->path(), options.file);
  overwrite(options.file, 60, "damage");
  const std::string message = error_of(ErrorCode::corrupt, [&] { load(options); });
  EXPECT_NE(message.find(options.file), std::string::npos) << message;
  write_model(model(), 9, small_tensors());
  fs::copy_file(files(cache()).size() == 1 ? cache() + "/" + files(cache())[0] : cached(), options.file,
                fs::copy_options::overwrite_existing);
  const std::string other = error_of(ErrorCode::invalid_argument, [&] { load(options); });
  EXPECT_NE(other.find("made from another model"), std::string::npos) << other;
}

TEST_F(PackedWeightsTest, PanelsOfAnotherShapeAreNotGiven) {
  const auto packed = load(options_);
  const GgufFile gguf = GgufFile::open(model());
  const NamedMatrix a = {"a.weight", gguf.tensor("a.weight").view};
  EXPECT_NE(packed->find(a, kLanes), nullptr);
  EXPECT_EQ(packed->find(a, 16), nullptr);
  EXPECT_EQ(packed->find(a, 0), nullptr);
  EXPECT_EQ(packed->find({"a.weight", gguf.tensor("b.weight").view}, kLanes), nullptr);
  EXPECT_EQ(packed->find({"none", a.view}, kLanes), nullptr);
}

TEST_F(PackedWeightsTest, AKilledWriterIsCleanedUpAfter) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ThreadPool pool(1);
    Task task;
    task.progress = [](uint64_t done, uint64_t, std::string_view) {
      if (done > 0) ::kill(::getpid(), SIGKILL);
    };
    const GgufFile gguf = GgufFile::open(model());
    load_packed(gguf, plan_for(gguf, kLanes), options_, pool, task);
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  ASSERT_EQ(files(cache()).size(), 1u);
  EXPECT_TRUE(files(cache())[0].ends_with(".partial"));
  EXPECT_EQ(load(options_)->path(), cached());
  EXPECT_EQ(files(cache()).size(), 1u);
}

// Processes that pack at once: every reader finds a whole sidecar or none, and a mapping outlives its replacement.
TEST_F(PackedWeightsTest, SeveralProcessesAtOnce) {
  load(options_);
  const auto old = load(options_);
  std::vector<pid_t> children;
  for (int i = 0; i < 4; ++i) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ThreadPool pool(2);
      const GgufFile gguf = GgufFile::open(model());
      bool good = true;
      for (int round = 0; round < 10; ++round) {
        if (i % 2 == 0) write_sidecar(cached(), gguf, identify_model(gguf), plan_for(gguf, kLanes), pool, {});
        const SidecarCheck found = check_sidecar(cached(), identify_model(gguf), plan_for(gguf, kLanes));
        good = good && found.state == SidecarState::valid;
        verify_panels(found, {});
      }
      ::_exit(good ? 0 : 1);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
  EXPECT_EQ(files(cache()).size(), 1u);
  const GgufFile gguf = GgufFile::open(model());
  expect_rows(plan_for(gguf, kLanes), *old);
}

uint64_t peak_bytes() {
  rusage usage = {};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

// Sums one byte of every page, as a forward pass would touch them.
unsigned touch(const PackPlan& plan, const PackedWeights& packed) {
  unsigned sum = 0;
  for (const PackItem& item : plan.items) {
    const std::byte* const data = packed.find({item.name, item.view}, item.lanes);
    for (size_t at = 0; at < item.bytes(); at += 4096) sum += static_cast<unsigned>(data[at]);
  }
  return sum;
}

// In a process of its own, because a peak does not go down again. The first load packs, the second maps.
TEST_F(PackedWeightsTest, OneCopyIsResident) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers keep shadow memory resident";
#endif
  write_model(model(), 3,
              {{"a.weight", TensorType::q4_k, 2, {4096, 16384, 1, 1}},
               {"b.weight", TensorType::q6_k, 2, {4096, 16384, 1, 1}},
               {"token_embd.weight", TensorType::q4_k, 2, {4096, 8192, 1, 1}}});
  for (const PackPolicy policy : {PackPolicy::memory, PackPolicy::sidecar, PackPolicy::sidecar}) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ThreadPool pool(2);
      const uint64_t before = peak_bytes();
      const GgufFile gguf = GgufFile::open(model());
      PackPlan plan = plan_for(gguf, kLanes);
      plan.items.pop_back();  // the embedding is looked up, not multiplied by
      PackOptions options = options_;
      options.policy = policy;
      const auto packed = load_packed(gguf, plan, options, pool, {});
      volatile unsigned sum = touch(plan, *packed);
      static_cast<void>(sum);
      const uint64_t grown = peak_bytes() - before;
      // Weights of 93 MB; a second copy would be as much again. 16 MB: buffers, stacks, pages in passing.
      ::_exit(grown <= plan.bytes() + (16 << 20) ? 0 : static_cast<int>(std::min<uint64_t>(grown >> 20, 255)));
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 0) << "MB (at most 255 are counted), for 93 MB of weights";
  }
}

TEST_F(PackedWeightsTest, PlansFollowTheKernels) {
  const GgufFile gguf = GgufFile::open(model());
  std::vector<NamedMatrix> matrices;
  for (const GgufTensor& t : gguf.tensors()) matrices.push_back({std::string(t.name), t.view});
  EXPECT_TRUE(plan_packing(matrices, kernels::Isa::scalar).items.empty());
  for (const kernels::Isa isa : {kernels::Isa::avx2, kernels::Isa::avx512_vnni, kernels::Isa::neon_dotprod}) {
    const PackPlan plan = plan_packing(matrices, isa);
    EXPECT_EQ(plan.lanes, widest_lanes(isa));
    for (const PackItem& item : plan.items) {
      EXPECT_EQ(item.lanes, ops::packed_lanes(item.view.type, isa));
      EXPECT_EQ(item.bytes(), ops::packed_bytes(item.view, isa));
      EXPECT_GE(item.view.n_rows(), item.lanes);
      // The room's own loop and that of ops agree.
      std::vector<std::byte> mine(item.bytes()), theirs(item.bytes());
      pack_panels(item, 0, item.n_panels(), mine.data(), pool_);
      ops::pack_panels(item.view, isa, 0, item.n_panels(), theirs.data());
      EXPECT_EQ(mine, theirs);
    }
  }
}

}  // namespace
}  // namespace thimble
