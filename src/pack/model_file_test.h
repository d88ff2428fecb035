// Test helper: small GGUF files with packable tensors, and a plan for panels of any width whatever kernels there are.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>

#include "base/error.h"
#include "format/gguf_writer.h"
#include "kernels/packed_layout.h"
#include "pack/packed_weights.h"

namespace thimble {

namespace fs = std::filesystem;

namespace pack_test {

inline std::vector<std::byte> random_bytes(size_t n, uint32_t seed) {
  std::vector<std::byte> bytes(n);
  for (std::byte& b : bytes) {
    seed = seed * 1664525u + 1013904223u;
    b = static_cast<std::byte>(seed >> 24);
  }
  return bytes;
}

inline std::vector<GgufTensorPlan> small_tensors() {
  return {{"token_embd.weight", TensorType::f16, 2, {32, 40, 1, 1}},
          {"a.weight", TensorType::q4_k, 2, {512, 37, 1, 1}},
          {"norm.weight", TensorType::f32, 1, {32, 1, 1, 1}},
          {"b.weight", TensorType::q6_k, 2, {256, 16, 1, 1}},
          {"c.weight", TensorType::q8_0, 2, {64, 5, 1, 1}}};
}

/// Writes `tensors` filled with bytes of `seed`.
inline void write_model(const std::string& path, uint32_t seed, const std::vector<GgufTensorPlan>& tensors,
                        GgufMetadata metadata = {}) {
  metadata.set_string("general.architecture", "test");
  metadata.set_strings("words", std::vector<std::string>{"one", "", "three"});
  GgufWriter writer(path, metadata, tensors);
  for (const GgufTensorPlan& t : tensors) {
    const auto n = *row_bytes(t.type, static_cast<uint64_t>(t.ne[0])) * static_cast<uint64_t>(t.ne[1]);
    writer.write(random_bytes(n, seed++));
  }
  writer.commit();
}

/// Packs what is quantized and has enough rows, in panels of `lanes` rows.
inline PackPlan plan_for(const GgufFile& gguf, int lanes) {
  PackPlan plan;
  plan.lanes = lanes;
  for (const GgufTensor& t : gguf.tensors()) {
    if (!traits(t.view.type).is_quantized || t.view.n_rows() < lanes) continue;
    plan.items.push_back({std::string(t.name), t.view, lanes});
  }
  return plan;
}

/// Rows taken out of panels are those of the model.
inline void expect_rows(const PackPlan& plan, const std::function<const std::byte*(const PackItem&)>& panels) {
  for (const PackItem& item : plan.items) {
    const std::byte* const packed = panels(item);
    ASSERT_NE(packed, nullptr) << item.name;
    ASSERT_EQ(reinterpret_cast<uintptr_t>(packed) % 64, 0u) << item.name;
    std::vector<std::byte> row(item.view.row_bytes());
    for (int64_t r = 0; r < item.view.n_rows(); ++r) {
      kernels::unpack_row(item.view.type, item.lanes, packed + static_cast<size_t>(r / item.lanes) * item.panel_bytes(),
                          static_cast<int>(r % item.lanes), item.view.n_cols(), row.data());
      ASSERT_EQ(std::memcmp(row.data(), item.view.row(r), row.size()), 0) << item.name << " row " << r;
    }
  }
}

inline void expect_rows(const PackPlan& plan, const PackedWeights& packed) {
  expect_rows(plan, [&](const PackItem& item) { return packed.find({item.name, item.view}, item.lanes); });
}

inline std::string error_of(ErrorCode code, const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    return e.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

/// Runs `body` in a process without root's rights, on one thread; its answer, false when anything failed.
inline bool unprivileged(const std::function<bool()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    constexpr uid_t kNobody = 65534;
    if (::geteuid() == 0 && ::seteuid(kNobody) != 0) ::_exit(2);
    bool good = false;
    try {
      good = body() && !::testing::Test::HasFailure();
    } catch (const std::exception& e) {
      ADD_FAILURE() << e.what();
    }
    std::fflush(nullptr);
    ::_exit(good ? 0 : 1);
  }
  int status = 0;
  return child > 0 && ::waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

class ModelFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("thimble_pack_test_" + std::to_string(::getpid()) + "_" +
                                           ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_ / "cache");
    write_model(model(), 1, small_tensors());
    options_.policy = PackPolicy::sidecar;
    options_.folder = cache();
    options_.min_bytes = 0;
    task_.log = [this](LogLevel level, std::string_view message) { log_.emplace_back(level, std::string(message)); };
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  std::string model() const { return path("model.gguf"); }
  std::string cache() const { return path("cache"); }
  std::vector<std::string> files(const std::string& in) const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(in)) names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }
  bool said(LogLevel level, std::string_view text) const {
    return std::any_of(log_.begin(), log_.end(), [&](const auto& line) {
      return line.first == level && line.second.find(text) != std::string::npos;
    });
  }
  static std::string content(const std::string& of) { return read_file(of, 1 << 30); }
  static void overwrite(const std::string& of, size_t at, std::string_view bytes) {
    std::fstream file(of, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(at));
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    ASSERT_TRUE(file.good());
  }

  fs::path folder_;
  ThreadPool pool_{1};  // no thread of it is missing after fork()
  PackOptions options_;
  Task task_;
  std::vector<std::pair<LogLevel, std::string>> log_;
};

}  // namespace pack_test

}  // namespace thimble
