// Models whose matrices have outlier branches: the forward pass against the reference, what a branch is good for, and
// branches that do not fit.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "base/error.h"
#include "model/model.h"
#include "model/reference_forward_test.h"
#include "model/synthetic_model.h"
#include "model/synthetic_shapes_test.h"

namespace thimble {
namespace {

using Floats = std::vector<float>;

Floats decode(const TensorView& view) {
  Floats out(static_cast<size_t>(view.n_elements()));
  for (int64_t r = 0; r < view.n_rows(); ++r) {
    traits(view.type).decode(view.row(r), out.data() + r * view.n_cols(), view.n_cols());
  }
  return out;
}

/// A GGUF image in memory, made from named floats.
struct Image {
  struct Tensor {
    GgufTensorPlan plan;
    Floats values;  // encoded to plan.type
    std::vector<int32_t> integers;
  };

  GgufFile build(const ModelConfig& config) {
    std::vector<GgufTensorPlan> plans;
    for (const Tensor& t : tensors) plans.push_back(t.plan);
    SyntheticOptions options;
    GgufMetadata metadata = synthetic_metadata(config, options);
    if (!features.empty()) metadata.set_strings("thimble.features", features);
    const std::vector<std::byte> header = gguf_header(metadata, plans);
    bytes = AlignedBuffer<std::byte>(gguf_file_bytes(metadata, plans));
    std::memcpy(bytes.data(), header.data(), header.size());
    GgufFile file = GgufFile::parse({bytes.data(), bytes.size()}, "m");
    for (const Tensor& t : tensors) {
      const TensorView& view = file.tensor(t.plan.name).view;
      std::byte* out = bytes.data() + (view.data.data() - bytes.data());
      if (!t.integers.empty()) std::memcpy(out, t.integers.data(), t.integers.size() * sizeof(int32_t));
      for (int64_t r = 0; !t.values.empty() && r < view.n_rows(); ++r) {
        traits(view.type).encode(t.values.data() + r * view.n_cols(), nullptr,
                                 out + static_cast<size_t>(r) * view.row_bytes(), view.n_cols());
      }
    }
    return file;
  }

  Tensor& named(const std::string& name) {
    return *std::find_if(tensors.begin(), tensors.end(), [&](const Tensor& t) { return t.plan.name == name; });
  }

  std::vector<Tensor> tensors;
  std::vector<std::string> features;
  AlignedBuffer<std::byte> bytes;
};

// Not aggregate initialization: GCC 12 warns of its temporaries.
Image::Tensor make_tensor(std::string name, TensorType type, const std::array<int64_t, 4>& ne) {
  Image::Tensor t;
  t.plan.name = std::move(name);
  t.plan.type = type;
  t.plan.n_dims = ne[1] > 1 ? 2 : 1;
  t.plan.ne = ne;
  return t;
}

// Float weights in which a few input channels of each matrix are `factor` times as large.
Image planted(const ModelConfig& config, bool tied, float factor) {
  ThreadPool pool(1);
  const SyntheticModel base = make_synthetic_model(config, synthetic_tensors(config, TensorType::f32, tied), {}, pool);
  Image image;
  for (const GgufTensor& tensor : base.gguf.tensors()) {
    Image::Tensor t = make_tensor(std::string(tensor.name), TensorType::f32, tensor.view.ne);
    t.values = decode(tensor.view);
    const auto n = static_cast<size_t>(tensor.view.ne[0]);
    for (size_t row = 0; tensor.view.ne[1] > 1 && row < t.values.size(); row += n) {
      for (size_t i = 5; i < n; i += 31) t.values[row + i] *= factor;
    }
    image.tensors.push_back(std::move(t));
  }
  return image;
}

// `image` with every matrix as `type` and, with_branch, channels 5, 36, 67, ... of each beside it.
Image quantized(const Image& image, TensorType type, bool with_branch) {
  Image out;
  for (const Image::Tensor& t : image.tensors) {
    Image::Tensor rest = t;
    if (t.plan.ne[1] == 1) {
      out.tensors.push_back(std::move(rest));
      continue;
    }
    rest.plan.type = type;
    const int64_t n = t.plan.ne[0];
    std::vector<int32_t> index;
    for (int64_t i = 5; i < n; i += 31) index.push_back(static_cast<int32_t>(i));
    Floats columns;
    for (int64_t row = 0; with_branch && row < t.plan.ne[1]; ++row) {
      for (const int32_t channel : index) rest.values[static_cast<size_t>(row * n + channel)] = 0.0f;
      Floats decoded(static_cast<size_t>(n));
      std::vector<std::byte> blocks(*row_bytes(type, static_cast<uint64_t>(n)));
      traits(type).encode(rest.values.data() + row * n, nullptr, blocks.data(), n);
      traits(type).decode(blocks.data(), decoded.data(), n);
      for (const int32_t channel : index) {
        const auto at = static_cast<size_t>(channel);
        columns.push_back(t.values[static_cast<size_t>(row * n) + at] - decoded[at]);
      }
    }
    out.tensors.push_back(std::move(rest));
    if (!with_branch) continue;
    const auto k = static_cast<int64_t>(index.size());
    Image::Tensor channels = make_tensor(t.plan.name + ".outlier_index", TensorType::i32, {k, 1, 1, 1});
    channels.integers = std::move(index);
    Image::Tensor values = make_tensor(t.plan.name + ".outlier", TensorType::f16, {k, t.plan.ne[1], 1, 1});
    values.values = std::move(columns);
    out.tensors.push_back(std::move(channels));
    out.tensors.push_back(std::move(values));
  }
  return out;
}

Floats logits(const Model& model, int n_threads, size_t chunk) {
  ThreadPool pool(n_threads);
  KvCache cache(model.config(), ops::KvType::f16, 64);
  ForwardPass forward(model, pool, 32, 64);
  Floats all;
  for (size_t pos = 0; pos < kTinyTokens.size(); pos += chunk) {
    const auto part = std::span(kTinyTokens).subspan(pos, std::min(chunk, kTinyTokens.size() - pos));
    const auto out = forward.run(part, static_cast<int64_t>(pos), cache, LogitsFor::all);
    all.insert(all.end(), out.begin(), out.end());
  }
  return all;
}

Floats flat(const std::vector<std::vector<double>>& rows) {
  Floats out;
  for (const auto& row : rows) out.insert(out.end(), row.begin(), row.end());
  return out;
}

double mean_square_difference(const Floats& a, const Floats& b) {
  EXPECT_EQ(a.size(), b.size());
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::pow(static_cast<double>(a[i] - b[i]), 2);
  return sum / static_cast<double>(a.size());
}

kernels::Isa best() {
  return kernels::best_isa(host_cpu());
}

// Float weights with branches: nothing is rounded but keys and values, as in Forward.LlamaEqualsTheReference.
TEST(OutlierModel, EqualsTheReferenceWithEveryMatrixBranched) {
  for (const bool tied : {false, true}) {
    const ModelConfig config = tiny_config(tied ? "qwen2" : "llama");
    Image image = quantized(planted(config, tied, 1.0f), TensorType::f32, true);
    image.features = {"outlier_branch"};
    const GgufFile gguf = image.build(config);
    const Model model(gguf, best());
    const Floats want = flat(ReferenceForward(gguf).run(kTinyTokens));
    const double tolerance = 4.0 * static_cast<double>(config.n_layer) * 0x1p-11;
    EXPECT_LT(largest_difference(logits(model, 1, kTinyTokens.size()), want), tolerance);
    EXPECT_LT(largest_difference(logits(model, 2, 1), want), tolerance);
    // The test would be blind if the branches did not matter.
    Image without = quantized(planted(config, tied, 1.0f), TensorType::f32, true);
    for (Image::Tensor& t : without.tensors) {
      if (t.plan.name.ends_with(".outlier")) std::fill(t.values.begin(), t.values.end(), 0.0f);
    }
    const GgufFile blind = without.build(config);
    EXPECT_GT(largest_difference(logits(Model(blind, best()), 1, kTinyTokens.size()), want), 10 * tolerance);
  }
}

TEST(OutlierModel, InstructionSetsThreadsAndPackingGiveTheSameBits) {
  const ModelConfig config = tiny_config();
  Image image = quantized(planted(config, false, 10.0f), TensorType::q4_0, true);
  const GgufFile gguf = image.build(config);
  const Floats expected = logits(Model(gguf, best()), 1, kTinyTokens.size());
  for (const kernels::Isa isa : kernels::fallbacks(best())) {
    // Floats are summed in another order by scalar code than by NEON.
    if (host_cpu().neon && isa == kernels::Isa::scalar) continue;
    Model model(gguf, isa);
    EXPECT_EQ(logits(model, 3, kTinyTokens.size()), expected) << kernels::isa_name(isa);
    ThreadPool pool(1);
    model.use_packed(load_packed(gguf, plan_packing(model.matrices(), isa), {}, pool, {}));
    EXPECT_EQ(logits(model, 2, kTinyTokens.size()), expected) << kernels::isa_name(isa) << " packed";
    model.use_packed(nullptr);
    EXPECT_EQ(logits(model, 1, kTinyTokens.size()), expected) << kernels::isa_name(isa) << " unpacked again";
  }
}

TEST(OutlierModel, BranchesLowerTheErrorOfPlantedOutliers) {
  const ModelConfig config = tiny_config();
  Image floats = planted(config, false, 10.0f);
  const GgufFile reference = floats.build(config);
  const Floats want = flat(ReferenceForward(reference).run(kTinyTokens));
  const auto error = [&](bool with_branch) {
    Image image = quantized(floats, TensorType::q4_0, with_branch);
    const GgufFile gguf = image.build(config);
    return mean_square_difference(flat(ReferenceForward(gguf).run(kTinyTokens)), want);
  };
  EXPECT_LT(error(true), 0.5 * error(false));
}

void expect_refused(const std::function<void(Image&)>& change, ErrorCode code, const std::string& text) {
  const ModelConfig config = tiny_config();
  Image image = quantized(planted(config, false, 1.0f), TensorType::q4_0, true);
  change(image);
  const GgufFile gguf = image.build(config);
  try {
    const Model model(gguf, best());
    FAIL() << "accepted; expected: " << text;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    EXPECT_NE(std::string(e.what()).find(text), std::string::npos) << e.what();
  }
}

TEST(OutlierModel, BranchesThatDoNotFitAreRefused) {
  const std::string name = "blk.1.attn_q.weight";
  const std::string index = name + ".outlier_index";
  const std::string values = name + ".outlier";
  const auto channels = [&](const std::vector<int32_t>& list) {
    return [=](Image& image) { image.named(index).integers = list; };
  };
  expect_refused(channels({5, 64}), ErrorCode::corrupt, "m: tensor " + name + ": outlier index: found channel 64 at 1");
  expect_refused(channels({-5, 6}), ErrorCode::corrupt, "found channel -5 at 0");
  expect_refused(channels({9, 9}), ErrorCode::corrupt, "ascending");
  expect_refused([&](Image& image) { image.named(index).plan.type = TensorType::f32; }, ErrorCode::unsupported,
                 index + ": found type f32, expected i32");
  expect_refused(
      [&](Image& image) {
        image.named(index).plan.ne = {1, 2, 1, 1}, image.named(index).plan.n_dims = 2;
      },
      ErrorCode::corrupt, index + ": found shape [1, 2, 1, 1]");
  expect_refused([&](Image& image) { image.named(index).plan.ne[0] = 1, image.named(index).integers = {5}; },
                 ErrorCode::corrupt, "outlier values: found shape [2, 64, 1, 1], expected [1, 64, 1, 1]");
  expect_refused([&](Image& image) { image.named(index).plan.ne[0] = 65; }, ErrorCode::corrupt,
                 index + ": found shape [65, 1, 1, 1], expected at most 64 channels");
  expect_refused([&](Image& image) { image.named(values).plan.type = TensorType::bf16; }, ErrorCode::unsupported,
                 "found type bf16, expected f16");
  expect_refused([&](Image& image) { image.named(values).plan.name = name + ".other"; }, ErrorCode::corrupt,
                 index + ": found no tensor " + values);
  expect_refused([&](Image& image) { image.named(index).plan.name = name + ".other"; }, ErrorCode::corrupt,
                 values + ": found no tensor " + index);
  const auto move_to_norm = [&](Image& image) {
    image.named(index).plan.name = "output_norm.weight.outlier_index";
    image.named(values).plan.name = "output_norm.weight.outlier";
  };
  expect_refused(move_to_norm, ErrorCode::unsupported, "unexpected tensor output_norm.weight.outlier_index");
  expect_refused(
      [&](Image& image) {
        image.features = {"outlier_branch", "sparse"};
      },
      ErrorCode::unsupported, "thimble.features: found 'sparse'");
}

}  // namespace
}  // namespace thimble
