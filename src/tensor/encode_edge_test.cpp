// Encoders on inputs that a model file can contain and a search does not like: zeros, one huge element, constant rows,
// denormals, NaN, infinity, odd importance. Buffers are exactly as large as needed, so that the sanitizers see every
// stray access.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "tensor/tensor_type.h"

namespace thimble {
namespace {

constexpr int64_t kElements = 512;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> filled(const std::function<float(int64_t)>& value) {
  std::vector<float> x(kElements);
  for (int64_t i = 0; i < kElements; ++i) x[static_cast<size_t>(i)] = value(i);
  return x;
}

// Deterministic noise in [-1, 1).
float noise(int64_t i) {
  uint32_t bits = static_cast<uint32_t>(i) * 2654435761u;
  bits ^= bits >> 15;
  bits *= 2246822519u;
  bits ^= bits >> 13;
  return static_cast<float>(static_cast<int32_t>(bits)) * 0x1p-31f;
}

std::vector<float> encode_decode(const TypeTraits& type, const std::vector<float>& x,
                                 const std::vector<float>& importance = {}) {
  std::vector<std::byte> blocks(*row_bytes(type.type, x.size()));
  type.encode(x.data(), importance.empty() ? nullptr : importance.data(), blocks.data(), std::ssize(x));
  std::vector<float> decoded(x.size());
  type.decode(blocks.data(), decoded.data(), std::ssize(x));
  return decoded;
}

double rms_difference(const std::vector<float>& x, const std::vector<float>& y) {
  double sum = 0.0;
  for (size_t i = 0; i < x.size(); ++i) sum += std::pow(static_cast<double>(x[i]) - static_cast<double>(y[i]), 2);
  return std::sqrt(sum / static_cast<double>(x.size()));
}

double rms(const std::vector<float>& x) {
  return rms_difference(x, std::vector<float>(x.size()));
}

const std::map<std::string, std::vector<float>>& hard_inputs() {
  static const std::map<std::string, std::vector<float>> inputs = {
      {"zeros", filled([](int64_t) { return 0.0f; })},
      {"negative zeros", filled([](int64_t) { return -0.0f; })},
      {"one huge", filled([](int64_t i) { return i == 77 ? 1e30f : noise(i); })},
      {"one huge negative", filled([](int64_t i) { return i == 300 ? -3.4e38f : noise(i); })},
      {"all huge", filled([](int64_t i) { return 3.4e38f * noise(i); })},
      {"beyond half precision", filled([](int64_t i) { return 1e6f * noise(i); })},
      {"all equal", filled([](int64_t) { return 0.37f; })},
      {"all equal negative", filled([](int64_t) { return -0.37f; })},
      {"alternating", filled([](int64_t i) { return i % 2 == 0 ? 0.25f : -0.25f; })},
      {"denormals", filled([](int64_t i) { return 1e-40f * noise(i); })},
      {"smallest denormal", filled([](int64_t i) { return i % 3 == 0 ? 1e-45f : 0.0f; })},
      {"below half precision", filled([](int64_t i) { return 1e-8f * noise(i); })},
      {"half precision denormals", filled([](int64_t i) { return 1e-5f * noise(i); })},
      {"one block of zeros", filled([](int64_t i) { return i < 256 ? 0.0f : noise(i); })},
      {"tiny beside huge", filled([](int64_t i) { return i < 256 ? 1e-12f * noise(i) : 1e30f * noise(i); })},
      {"NaN", filled([](int64_t) { return kNan; })},
      {"one NaN", filled([](int64_t i) { return i == 5 ? kNan : noise(i); })},
      {"infinity", filled([](int64_t) { return kInfinity; })},
      {"one infinity", filled([](int64_t i) { return i == 5 ? -kInfinity : noise(i); })},
      {"NaN and infinities", filled([](int64_t i) { return i % 3 == 0   ? kNan
                                                           : i % 3 == 1 ? kInfinity
                                                                        : -kInfinity; })},
  };
  return inputs;
}

const std::map<std::string, std::vector<float>>& hard_importances() {
  static const std::map<std::string, std::vector<float>> importances = {
      {"none", {}},
      {"zero", filled([](int64_t) { return 0.0f; })},
      {"zero but one", filled([](int64_t i) { return i == 9 ? 1.0f : 0.0f; })},
      {"huge", filled([](int64_t i) { return 3.4e38f * std::fabs(noise(i)); })},
      {"tiny", filled([](int64_t i) { return 1e-42f * std::fabs(noise(i)); })},
      {"negative", filled([](int64_t) { return -1.0f; })},
      {"NaN", filled([](int64_t i) { return i % 2 == 0 ? kNan : 1.0f; })},
      {"infinite", filled([](int64_t i) { return i % 2 == 0 ? kInfinity : 1.0f; })},
  };
  return importances;
}

TEST(EncodeEdge, AnyInputGivesFiniteValues) {
  for (const TypeTraits& type : all_types()) {
    if (!type.is_quantized) continue;
    for (const auto& [name, x] : hard_inputs()) {
      for (const auto& [importance_name, importance] : hard_importances()) {
        for (const float value : encode_decode(type, x, importance)) {
          ASSERT_TRUE(std::isfinite(value)) << type.name << ": " << name << ", importance " << importance_name;
        }
      }
    }
  }
}

TEST(EncodeEdge, ZerosAndDenormalsBecomeZero) {
  for (const TypeTraits& type : all_types()) {
    if (!type.is_quantized) continue;
    for (const char* name : {"zeros", "negative zeros", "denormals", "smallest denormal"}) {
      for (const float value : encode_decode(type, hard_inputs().at(name))) ASSERT_EQ(value, 0.0f) << type.name << name;
    }
    // A zero block beside another one must stay zero.
    const std::vector<float> decoded = encode_decode(type, hard_inputs().at("one block of zeros"));
    for (size_t i = 0; i < 256; ++i) ASSERT_EQ(decoded[i], 0.0f) << type.name;
  }
}

TEST(EncodeEdge, ErrorNeverExceedsTheInputItself) {
  // Finite rows within the range of half precision scales: whatever happens, coding must be better than dropping the
  // row. 2^-25 is what the rounding of an offset to half precision may cost per element.
  for (const TypeTraits& type : all_types()) {
    if (!type.is_quantized) continue;
    for (const char* name : {"all equal", "all equal negative", "alternating", "below half precision",
                             "half precision denormals", "one block of zeros", "beyond half precision"}) {
      const std::vector<float>& x = hard_inputs().at(name);
      for (const auto& [importance_name, importance] : hard_importances()) {
        const double error = rms_difference(x, encode_decode(type, x, importance));
        EXPECT_LE(error, rms(x) + 0x1p-25) << type.name << ": " << name << ", importance " << importance_name;
      }
    }
  }
}

TEST(EncodeEdge, ConstantAndAlternatingRowsAreNearlyExact) {
  // Both need two levels at most, so only the rounding of stored scales remains: 2^-11 relative for half precision, and
  // up to half a step of a 4-bit sub-scale (Q2_K), which the search can avoid because all sub-blocks are alike.
  for (const TypeTraits& type : all_types()) {
    if (!type.is_quantized) continue;
    for (const char* name : {"all equal", "all equal negative"}) {
      const std::vector<float>& x = hard_inputs().at(name);
      EXPECT_LE(rms_difference(x, encode_decode(type, x)), 0.002 * rms(x)) << type.name << ": " << name;
    }
    // Ranges with one code more on the negative side can put both values on a code pair, IQ4 has no symmetric pair of
    // levels: -104 and 113, which the search reaches, are 4 % off their mean.
    const bool iq4 = type.name.starts_with("iq4");
    const std::vector<float>& x = hard_inputs().at("alternating");
    EXPECT_LE(rms_difference(x, encode_decode(type, x)), (iq4 ? 0.05 : 0.02) * rms(x)) << type.name;
  }
}

TEST(EncodeEdge, HugeElementsAreClampedNotLost) {
  for (const TypeTraits& type : all_types()) {
    if (!type.is_quantized) continue;
    // The least that any type reaches: the offset of Q4_1, Q5_1 and the group types is half precision itself.
    EXPECT_GE(encode_decode(type, hard_inputs().at("one huge"))[77], 65504.0f) << type.name;
    EXPECT_LE(encode_decode(type, hard_inputs().at("one huge negative"))[300], -65504.0f) << type.name;
    EXPECT_LE(encode_decode(type, hard_inputs().at("one infinity"))[5], -65504.0f) << type.name;
  }
}

TEST(EncodeEdge, NanLeavesOtherBlocksAlone) {
  for (const TypeTraits& type : all_types()) {
    if (!type.is_quantized) continue;
    const std::vector<float> clean = filled([](int64_t i) { return noise(i); });
    std::vector<float> dirty = clean;
    dirty[5] = kNan;
    const std::vector<float> a = encode_decode(type, clean);
    const std::vector<float> b = encode_decode(type, dirty);
    const double other = rms_difference({clean.begin() + 256, clean.end()}, {b.begin() + 256, b.end()});
    const double expected = rms_difference({clean.begin() + 256, clean.end()}, {a.begin() + 256, a.end()});
    EXPECT_LE(other, expected * 1.01) << type.name;
  }
}

// Codes that use both ends of the range, as every block written by an absolute-maximum quantizer does.
void expect_fixed_point(const TypeTraits& type, const std::vector<std::byte>& blocks, size_t n) {
  std::vector<float> x(n);
  type.decode(blocks.data(), x.data(), std::ssize(x));
  EXPECT_EQ(encode_decode(type, x), x) << type.name;
}

TEST(EncodeEdge, GridValuesAreFixedPoints) {
  for (int64_t seed = 0; seed < 200; ++seed) {
    const uint16_t d = static_cast<uint16_t>(0x1000 + seed * 97);  // positive normal halves from 2^-11 up
    std::vector<std::byte> q8(34);
    std::vector<std::byte> q4(18);
    for (std::vector<std::byte>* block : {&q8, &q4}) {
      (*block)[0] = static_cast<std::byte>(d & 0xFF);
      (*block)[1] = static_cast<std::byte>(d >> 8);
    }
    for (int64_t j = 0; j < 32; ++j) {
      const int code = static_cast<int>(noise(seed * 32 + j) * 127.0f);
      q8[static_cast<size_t>(2 + j)] = static_cast<std::byte>(static_cast<uint8_t>(code));
    }
    q8[static_cast<size_t>(2 + seed % 32)] = static_cast<std::byte>(seed % 2 == 0 ? 127 : 0x81);  // -127
    for (int64_t j = 0; j < 16; ++j) {
      q4[static_cast<size_t>(2 + j)] = static_cast<std::byte>(static_cast<int>(noise(seed * 16 + j) * 128.0f + 128.0f));
    }
    q4[static_cast<size_t>(2 + seed % 16)] = std::byte{0xF0};  // code 0 is -8
    expect_fixed_point(traits(TensorType::q8_0), q8, 32);
    expect_fixed_point(traits(TensorType::q4_0), q4, 32);
  }
}

TEST(EncodeEdge, SecondEncodingOfQ8ChangesNothing) {
  const TypeTraits& type = traits(TensorType::q8_0);
  for (const char* name : {"all huge", "half precision denormals", "one block of zeros", "alternating"}) {
    const std::vector<float> once = encode_decode(type, hard_inputs().at(name));
    EXPECT_EQ(encode_decode(type, once), once) << name;
  }
}

TEST(EncodeEdge, ImportanceLowersTheWeightedError) {
  const std::vector<float> x = filled([](int64_t i) { return noise(i); });
  const std::vector<float> importance = filled([](int64_t i) { return i % 4 == 0 ? 100.0f : 1.0f; });
  const auto weighted_error = [&](const std::vector<float>& y) {
    double sum = 0.0;
    for (size_t i = 0; i < x.size(); ++i) {
      sum += static_cast<double>(importance[i]) * std::pow(static_cast<double>(x[i]) - static_cast<double>(y[i]), 2);
    }
    return sum;
  };
  for (const TypeTraits& type : all_types()) {
    if (!type.is_quantized || type.type == TensorType::q8_0) continue;  // Q8_0 does not use importance
    EXPECT_LT(weighted_error(encode_decode(type, x, importance)), weighted_error(encode_decode(type, x))) << type.name;
  }
}

// Massive activations make one input matter more than all its neighbours together. It must come out right, and they
// must not be lost: where a block has one scale and one offset, these do both; superblocks whose sub-blocks share units
// give up more of the neighbours, as the importance asks.
TEST(EncodeEdge, OneOverwhelmingImportanceSpoilsNoBlock) {
  const std::vector<float> x = filled(noise);
  for (const float weight : {1e3f, 1e4f, 1e6f, 1e9f, 1e15f}) {
    for (const size_t heavy : {size_t{0}, size_t{77}, size_t{300}}) {
      std::vector<float> importance(x.size(), 1.0f);
      importance[heavy] = weight;
      for (const TypeTraits& type : all_types()) {
        if (!type.is_quantized || type.type == TensorType::q8_0) continue;  // Q8_0 does not use importance
        const std::string what = fmt::format("{}: weight {} at {}", type.name, weight, heavy);
        const bool own_offset = type.is_own() || type.type == TensorType::q4_1 || type.type == TensorType::q5_1;
        const double plain = rms_difference(x, encode_decode(type, x));
        const std::vector<float> y = encode_decode(type, x, importance);
        EXPECT_LT(rms_difference(x, y), (own_offset ? 2.0 : 7.0) * plain) << what;
        EXPECT_LT(std::abs(y[heavy] - x[heavy]), 0.3f * static_cast<float>(plain)) << what;
      }
    }
  }
}

TEST(EncodeEdge, EmptyRowWritesNothing) {
  for (const TypeTraits& type : all_types()) {
    if (type.encode == nullptr) continue;
    type.encode(nullptr, nullptr, nullptr, 0);
    type.decode(nullptr, nullptr, 0);
  }
}

}  // namespace
}  // namespace thimble
