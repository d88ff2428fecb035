// quantize() on tiny synthetic models: every scheme readable back, sizes as planned, and nothing left after a failure.
#include "quantize/quantize.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <random>

#include "base/error.h"
#include "base/float16.h"
#include "format/gguf_summary.h"
#include "format/gguf_writer.h"
#include "quantize/test_folder.h"

namespace thimble {
namespace {

namespace fs = std::filesystem;

struct TinyTensor {
  GgufTensorPlan plan;
  std::vector<float> values;
};

/// A llama of 2 layers, width 256, with weights from a fixed generator.
std::vector<TinyTensor> tiny_tensors(TensorType type, bool tied = false) {
  std::vector<TinyTensor> out;
  std::mt19937 generator(1);
  const auto add = [&](const std::string& name, int64_t n_cols, int64_t n_rows) {
    TinyTensor t{{name, n_rows == 1 ? TensorType::f32 : type, n_rows == 1 ? 1u : 2u, {n_cols, n_rows, 1, 1}}, {}};
    for (int64_t i = 0; i < n_cols * n_rows; ++i) {
      // Multiples of 1/4096 below 1/8 are exact in f16.
      t.values.push_back(static_cast<float>(static_cast<int>(generator() >> 22) - 512) / 4096.0f);
    }
    out.push_back(std::move(t));
  };
  add("token_embd.weight", 256, 32);
  for (int layer = 0; layer < 2; ++layer) {
    const std::string p = fmt::format("blk.{}.", layer);
    add(p + "attn_norm.weight", 256, 1);
    for (const char* name : {"attn_q.weight", "attn_k.weight", "attn_v.weight", "attn_output.weight"})
      add(p + name, 256, 256);
    add(p + "ffn_norm.weight", 256, 1);
    for (const char* name : {"ffn_gate.weight", "ffn_up.weight"}) add(p + name, 256, 512);
    add(p + "ffn_down.weight", 512, 256);
  }
  add("output_norm.weight", 256, 1);
  if (!tied) add("output.weight", 256, 32);
  return out;
}

GgufMetadata tiny_metadata() {
  GgufMetadata m;
  m.set_string("general.architecture", "llama");
  m.set_string("general.name", "tiny");
  m.set_uint32("general.file_type", 0);
  m.set_uint32("llama.block_count", 2);
  m.set_uint32("llama.embedding_length", 256);
  m.set_uint32("llama.feed_forward_length", 512);
  m.set_uint32("llama.context_length", 64);
  m.set_uint32("llama.attention.head_count", 4);
  m.set_float32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  return m;
}

void write_tiny(const std::string& path, std::span<const TinyTensor> tensors,
                const GgufMetadata& metadata = tiny_metadata()) {
  std::vector<GgufTensorPlan> plans;
  for (const TinyTensor& t : tensors) plans.push_back(t.plan);
  GgufWriter writer(path, metadata, plans);
  for (const TinyTensor& t : tensors) {
    std::vector<std::byte> bytes(gguf_tensor_bytes(t.plan));
    const int64_t n_cols = t.plan.ne[0];
    for (int64_t row = 0; row < t.plan.ne[1]; ++row) {
      traits(t.plan.type)
          .encode(t.values.data() + row * n_cols, nullptr,
                  bytes.data() + row * static_cast<int64_t>(*row_bytes(t.plan.type, static_cast<uint64_t>(n_cols))),
                  n_cols);
    }
    writer.write(bytes);
  }
  writer.commit();
}

float& value_at(std::vector<TinyTensor>& tensors, const std::string& name, int64_t row, int64_t column) {
  for (TinyTensor& t : tensors) {
    if (t.plan.name == name) return t.values.at(static_cast<size_t>(row * t.plan.ne[0] + column));
  }
  throw std::out_of_range(name);
}

/// Kilobytes of file mappings resident in this process; -1 where the system does not say.
int64_t resident_file_kb() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("RssFile:")) return std::stoll(line.substr(8));
  }
  return -1;
}

/// Code and message of the Error `body` throws.
Error error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& e) {
    return e;
  }
  return {ErrorCode::internal, "no error"};
}

/// Relative root mean square error a type may have on these uniform weights: half a step of its grid is 1/sqrt(12) of
/// the step, with 2^bits steps over the range; doubled for the coarser grid of the scales.
double allowed_error(TensorType type) {
  switch (type) {
    case TensorType::f32:
    case TensorType::f16:
      return 0.0;
    case TensorType::q8_0:
      return 2.0 / 256;
    case TensorType::q6_k:
      return 2.0 / 64;
    case TensorType::q5_k:
      return 2.0 / 32;
    case TensorType::q4_0:
    case TensorType::q4_1:
    case TensorType::q4_k:
    case TensorType::iq4_nl:
    case TensorType::iq4_xs:
    case TensorType::i4_g64:
    case TensorType::i4_g128:
      return 2.0 / 16;
    case TensorType::i5_g64:
    case TensorType::i5_g128:
      return 2.0 / 24;
    case TensorType::q3_k:
      return 2.0 / 8;
    default:
      return 2.0 / 4;  // q2_k
  }
}

TEST(Quantize, EverySchemeGivesAReadableFileOfThePlannedSize) {
  const Folder folder;
  const std::vector<TinyTensor> tensors = tiny_tensors(TensorType::f16);
  write_tiny(folder / "in.gguf", tensors);
  const GgufFile input = GgufFile::open(folder / "in.gguf");
  ThreadPool pool(3);
  for (const std::string_view scheme : scheme_names()) {
    const Recipe recipe = recipe_from_scheme(scheme);
    const std::string path = folder / (std::string(scheme) + ".gguf");
    const QuantizeResult planned = plan_quantize(input, recipe);
    const QuantizeResult done = quantize(input, path, recipe, {}, pool);
    EXPECT_EQ(fs::file_size(path), planned.file_bytes) << scheme;
    EXPECT_EQ(done.file_bytes, planned.file_bytes);
    const GgufFile output = GgufFile::open(path);
    EXPECT_EQ(output.get_uint("general.file_type", 0, 1024), file_type_id(scheme));
    EXPECT_EQ(output.get_uint("general.quantization_version", 0, 100), 2u);
    EXPECT_EQ(output.get_string("thimble.scheme"), scheme);
    EXPECT_EQ(output.get_uint("thimble.version", 0, 100), 1u);
    EXPECT_EQ(output.get_string("general.name"), "tiny");
    EXPECT_DOUBLE_EQ(bits_per_weight(output).total, planned.bits_per_weight);
    EXPECT_DOUBLE_EQ(bits_per_weight(output).body, planned.body_bits_per_weight);
    for (size_t i = 0; i < tensors.size(); ++i) {
      const GgufTensor& tensor = output.tensor(tensors[i].plan.name);
      EXPECT_EQ(tensor.view.type, planned.tensors[i].to) << tensor.name;
      EXPECT_EQ(tensor.view.ne, tensors[i].plan.ne);
      std::vector<float> decoded(tensors[i].values.size());
      traits(tensor.view.type).decode(tensor.view.data.data(), decoded.data(), static_cast<int64_t>(decoded.size()));
      double error = 0;
      double norm = 0;
      for (size_t k = 0; k < decoded.size(); ++k) {
        error += std::pow(decoded[k] - tensors[i].values[k], 2);
        norm += std::pow(tensors[i].values[k], 2);
      }
      EXPECT_LE(std::sqrt(error / norm), allowed_error(tensor.view.type)) << scheme << " " << tensor.name;
    }
  }
}

TEST(Quantize, ASplitInputGivesTheSameFileAsAWholeOne) {
  const Folder folder;
  const std::vector<TinyTensor> tensors = tiny_tensors(TensorType::f16);
  write_tiny(folder / "whole.gguf", tensors);
  for (uint32_t part = 0; part < 2; ++part) {
    GgufMetadata metadata = part == 0 ? tiny_metadata() : GgufMetadata();
    metadata.set_uint32("split.no", part);
    metadata.set_uint32("split.count", 2);
    metadata.set_uint32("split.tensors.count", static_cast<uint32_t>(tensors.size()));
    const auto half = std::span(tensors).subspan(part == 0 ? 0 : 5, part == 0 ? 5 : tensors.size() - 5);
    write_tiny(folder / fmt::format("s-0000{}-of-00002.gguf", part + 1), half, metadata);
  }
  ThreadPool pool(2);
  const GgufFile split = GgufFile::open(folder / "s-00001-of-00002.gguf");
  quantize(GgufFile::open(folder / "whole.gguf"), folder / "a.gguf", recipe_from_scheme("q4_k_m"), {}, pool);
  quantize(split, folder / "b.gguf", recipe_from_scheme("q4_k_m"), {}, pool);
  EXPECT_EQ(read_file(folder / "a.gguf", 1 << 24), read_file(folder / "b.gguf", 1 << 24));
  // Any part of the set is the input.
  fs::create_hard_link(folder / "s-00002-of-00002.gguf", folder / "other.gguf");
  for (const char* name : {"s-00001-of-00002.gguf", "s-00002-of-00002.gguf", "./s-00002-of-00002.gguf", "other.gguf"}) {
    const Error e = error_of([&] { quantize(split, folder / name, recipe_from_scheme("q4_k_m"), {}, pool); });
    EXPECT_EQ(e.code(), ErrorCode::invalid_argument) << name << ": " << e.what();
  }
}

TEST(Quantize, TheResultDoesNotDependOnThreads) {
  const Folder folder;
  write_tiny(folder / "in.gguf", tiny_tensors(TensorType::f32));
  const GgufFile input = GgufFile::open(folder / "in.gguf");
  ThreadPool one(1);
  ThreadPool four(4);
  quantize(input, folder / "a.gguf", recipe_from_scheme("q4_k_m"), {}, one);
  quantize(input, folder / "b.gguf", recipe_from_scheme("q4_k_m"), {}, four);
  EXPECT_EQ(read_file(folder / "a.gguf", 1 << 24), read_file(folder / "b.gguf", 1 << 24));
}

TEST(Quantize, SaysEveryChoiceAndWarnsOnceOfFallbacks) {
  const Folder folder;
  std::vector<TinyTensor> tensors = tiny_tensors(TensorType::f32);
  ThreadPool pool(1);
  std::vector<std::string> choices;
  std::vector<std::string> warnings;
  Task task;
  task.log = [&](LogLevel level, std::string_view message) {
    (level == LogLevel::warning ? warnings : choices).emplace_back(message);
  };
  write_tiny(folder / "in.gguf", tensors);
  quantize(GgufFile::open(folder / "in.gguf"), folder / "out.gguf", recipe_from_scheme("q4_k_m"), {}, pool, task);
  EXPECT_EQ(choices.size(), tensors.size());
  EXPECT_TRUE(warnings.empty());

  // Two matrices whose width no k-quant fits.
  for (TinyTensor& t : tensors) {
    if (t.plan.name != "blk.0.attn_q.weight" && t.plan.name != "blk.1.attn_q.weight") continue;
    t.plan.ne[0] = 32;
    t.values.resize(static_cast<size_t>(32 * t.plan.ne[1]));
  }
  write_tiny(folder / "narrow.gguf", tensors);
  quantize(GgufFile::open(folder / "narrow.gguf"), folder / "out.gguf", recipe_from_scheme("q4_k_m"), {}, pool, task);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("2 of " + std::to_string(tensors.size()) + " tensors"), std::string::npos) << warnings[0];
}

TEST(Quantize, Bf16AndF32SourcesAndImportance) {
  const Folder folder;
  ThreadPool pool(2);
  for (const TensorType type : {TensorType::bf16, TensorType::f32}) {
    write_tiny(folder / "in.gguf", tiny_tensors(type, true));
    const GgufFile input = GgufFile::open(folder / "in.gguf");
    Importance importance;
    importance["blk.0.attn_q.weight"] = std::vector<float>(256, 1.0f);
    for (size_t i = 0; i < 8; ++i) importance["blk.0.attn_q.weight"][i] = 1000.0f;
    quantize(input, folder / "plain.gguf", recipe_from_scheme("q4_k_m"), {}, pool);
    quantize(input, folder / "weighted.gguf", recipe_from_scheme("q4_k_m"), importance, pool);
    const GgufFile plain = GgufFile::open(folder / "plain.gguf");
    const GgufFile weighted = GgufFile::open(folder / "weighted.gguf");
    // The weighted columns must come closer to the float weights than without importance.
    const auto error_of_first_columns = [&](const GgufFile& file) {
      const TensorView& want = input.tensor("blk.0.attn_q.weight").view;
      const TensorView& got = file.tensor("blk.0.attn_q.weight").view;
      double error = 0;
      std::vector<float> a(256), b(256);
      for (int64_t row = 0; row < 256; ++row) {
        traits(want.type).decode(want.row(row), a.data(), 256);
        traits(got.type).decode(got.row(row), b.data(), 256);
        for (size_t i = 0; i < 8; ++i) error += std::pow(a[i] - b[i], 2);
      }
      return error;
    };
    EXPECT_LT(error_of_first_columns(weighted), 0.8 * error_of_first_columns(plain));
  }
}

TEST(Quantize, RefusesImportanceThatDoesNotFit) {
  const Folder folder;
  write_tiny(folder / "in.gguf", tiny_tensors(TensorType::f16));
  const GgufFile input = GgufFile::open(folder / "in.gguf");
  ThreadPool pool(1);
  for (const std::vector<float>& bad : {std::vector<float>(255, 1.0f), std::vector<float>(256, -1.0f),
                                        std::vector<float>(256, std::numeric_limits<float>::quiet_NaN())}) {
    const Error e = error_of([&] {
      quantize(input, folder / "out.gguf", recipe_from_scheme("q4_0"), Importance{{"blk.1.attn_q.weight", bad}}, pool);
    });
    EXPECT_EQ(e.code(), ErrorCode::invalid_argument) << e.what();
    EXPECT_NE(std::string(e.what()).find("blk.1.attn_q.weight"), std::string::npos) << e.what();
  }
  EXPECT_EQ(folder.n_entries(), 1u);
}

TEST(Quantize, NanAndInfinityNameTensorAndRow) {
  const Folder folder;
  ThreadPool pool(2);
  const std::pair<float, const char*> cases[] = {{std::numeric_limits<float>::quiet_NaN(), "NaN"},
                                                 {-std::numeric_limits<float>::infinity(), "infinity"}};
  for (const auto& [value, name] : cases) {
    for (const char* tensor : {"blk.1.ffn_down.weight", "output_norm.weight"}) {
      const int64_t row = tensor[0] == 'b' ? 77 : 0;
      std::vector<TinyTensor> tensors = tiny_tensors(TensorType::f32);
      value_at(tensors, tensor, row, 13) = value;
      write_tiny(folder / "in.gguf", tensors);
      const GgufFile input = GgufFile::open(folder / "in.gguf");
      for (const char* scheme : {"q4_k_m", "f16"}) {
        const Error e = error_of([&] { quantize(input, folder / "out.gguf", recipe_from_scheme(scheme), {}, pool); });
        EXPECT_EQ(e.code(), ErrorCode::corrupt) << e.what();
        const std::string expected = fmt::format("tensor {}: row {}, column 13: found {}", tensor, row, name);
        EXPECT_NE(std::string(e.what()).find(expected), std::string::npos) << e.what();
        EXPECT_EQ(folder.n_entries(), 1u);
      }
    }
  }
}

TEST(Quantize, ValuesOutsideTheRangeOfF16NameTheTensor) {
  const Folder folder;
  ThreadPool pool(2);
  std::vector<TinyTensor> tensors = tiny_tensors(TensorType::f32);
  value_at(tensors, "blk.0.attn_k.weight", 5, 6) = 65520.0f;  // the smallest float that rounds to infinity in f16
  write_tiny(folder / "in.gguf", tensors);
  const GgufFile input = GgufFile::open(folder / "in.gguf");
  const Error e = error_of([&] { quantize(input, folder / "out.gguf", recipe_from_scheme("f16"), {}, pool); });
  EXPECT_EQ(e.code(), ErrorCode::unsupported);
  EXPECT_NE(std::string(e.what()).find("tensor blk.0.attn_k.weight: row 5, column 6: found 65520"), std::string::npos)
      << e.what();
  value_at(tensors, "blk.0.attn_k.weight", 5, 6) = 65504.0f;
  write_tiny(folder / "in.gguf", tensors);
  EXPECT_NO_THROW(
      quantize(GgufFile::open(folder / "in.gguf"), folder / "out.gguf", recipe_from_scheme("f16"), {}, pool));
}

TEST(Quantize, AQuantizedInputIsRefused) {
  const Folder folder;
  write_tiny(folder / "in.gguf", tiny_tensors(TensorType::q8_0));
  const GgufFile input = GgufFile::open(folder / "in.gguf");
  const Error e = error_of([&] { plan_quantize(input, recipe_from_scheme("q4_0")); });
  EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
  EXPECT_NE(std::string(e.what()).find("token_embd.weight: found type q8_0"), std::string::npos) << e.what();
}

TEST(Quantize, ARecipeWithRulesIsStillAFileThatStockLlamaCppLoads) {
  const Folder folder;
  GgufMetadata metadata = tiny_metadata();
  metadata.set_string("tokenizer.ggml.model", "llama");
  write_tiny(folder / "in.gguf", tiny_tensors(TensorType::f16), metadata);
  ThreadPool pool(1);
  const Recipe recipe = with_hot_weights(recipe_from_scheme("q4_0"));
  quantize(GgufFile::open(folder / "in.gguf"), folder / "out.gguf", recipe, {}, pool);
  const GgufFile output = GgufFile::open(folder / "out.gguf");
  EXPECT_EQ(output.get_string("thimble.scheme"), "q4_0");
  EXPECT_EQ(output.get_string("thimble.recipe"), recipe.name);
  EXPECT_EQ(stock_obstacles(output), std::vector<std::string>());
}

TEST(Quantize, TheInputIsNeverTheOutput) {
  const Folder folder;
  write_tiny(folder / "in.gguf", tiny_tensors(TensorType::f16));
  fs::create_symlink(folder / "in.gguf", folder / "link.gguf");
  const GgufFile input = GgufFile::open(folder / "in.gguf");
  ThreadPool pool(1);
  for (const char* name : {"in.gguf", "link.gguf", "./in.gguf"}) {
    const Error e = error_of([&] { quantize(input, folder / name, recipe_from_scheme("q4_0"), {}, pool); });
    EXPECT_EQ(e.code(), ErrorCode::invalid_argument) << name << ": " << e.what();
  }
  EXPECT_EQ(folder.n_entries(), 2u);
}

TEST(Quantize, CancellingLeavesNothing) {
  const Folder folder;
  write_tiny(folder / "in.gguf", tiny_tensors(TensorType::f16));
  const GgufFile input = GgufFile::open(folder / "in.gguf");
  ThreadPool pool(2);
  CancelToken token;
  Task task;
  task.cancel = &token;
  int reports = 0;
  task.progress = [&](uint64_t done, uint64_t total, std::string_view) {
    EXPECT_LE(done, total);
    if (++reports == 5) token.cancel();
  };
  const Error e = error_of([&] { quantize(input, folder / "out.gguf", recipe_from_scheme("q4_k_m"), {}, pool, task); });
  EXPECT_EQ(e.code(), ErrorCode::cancelled) << e.what();
  EXPECT_GE(reports, 5);
  EXPECT_EQ(folder.n_entries(), 1u);
}

// A limit on file sizes stands in for a full disk: write() fails the same way, in the middle of a tensor.
TEST(Quantize, AFullDiskLeavesTheOldFileAlone) {
  const Folder folder;
  write_tiny(folder / "in.gguf", tiny_tensors(TensorType::f16));
  write_file_atomically(folder / "out.gguf", "old");
  const GgufFile input = GgufFile::open(folder / "in.gguf");
  ThreadPool pool(2);
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  struct rlimit small = before;
  small.rlim_cur = 300000;
  const auto old_handler = ::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const Error e = error_of([&] { quantize(input, folder / "out.gguf", recipe_from_scheme("q8_0"), {}, pool); });
  ::setrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, old_handler);
  EXPECT_EQ(e.code(), ErrorCode::resource_exhausted) << e.what();
  EXPECT_EQ(read_file(folder / "out.gguf", 100), "old");
  EXPECT_EQ(folder.n_entries(), 2u);
}

TEST(Quantize, ATensorLargerThanAPieceIsConvertedWhole) {
  const Folder folder;
  std::vector<TinyTensor> tensors = tiny_tensors(TensorType::f32);
  // 5 pieces of 2^21 elements and a rest.
  constexpr int64_t kRows = (5 << 21) / 256 + 3;
  tensors[0].plan.ne[1] = kRows;
  tensors.back().plan.ne[1] = kRows;
  for (TinyTensor* t : {&tensors.front(), &tensors.back()}) {
    t->values.resize(256 * kRows);
    for (size_t i = 0; i < t->values.size(); ++i) t->values[i] = static_cast<float>(i % 255) - 127.0f;
  }
  write_tiny(folder / "in.gguf", tensors);
  const GgufFile input = GgufFile::open(folder / "in.gguf");
  ThreadPool pool(2);
  const int64_t before = resident_file_kb();
  quantize(input, folder / "out.gguf", recipe_from_scheme("f16"), {}, pool);
  // What was read is let go: of the 84 MB of input, no more than a piece stays (8 MB, and code that was paged in).
  if (before >= 0) {
    EXPECT_LT(resident_file_kb() - before, 16 << 10);
  }
  const GgufFile output = GgufFile::open(folder / "out.gguf");
  const TensorView& got = output.tensor("token_embd.weight").view;
  ASSERT_EQ(got.n_rows(), kRows);
  for (int64_t row = 0; row < kRows; ++row) {
    const auto* halves = reinterpret_cast<const uint16_t*>(got.row(row));
    ASSERT_EQ(f16_to_f32(halves[7]), tensors[0].values[static_cast<size_t>(row * 256 + 7)]) << row;
  }
}

}  // namespace
}  // namespace thimble
