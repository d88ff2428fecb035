// Encoders against llama.cpp: for every quantized type, distribution and weighting the error must not exceed that of
// stock llama.cpp v0.5.0 on the same rows (tests/golden/quant_error/SOURCE). The row generator is that of
// scripts/make_quant_reference.py, written a second time; see there for why it avoids the math library.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/random.h"
#include "tensor/tensor_type.h"

namespace thimble {
namespace {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t next() { return state_.next(); }

  double gaussian() {
    int64_t total = 0;
    for (int i = 0; i < 12; ++i) {
      const uint64_t bits = next();
      total += static_cast<int64_t>((bits & 0xFFFF) + ((bits >> 16) & 0xFFFF) + ((bits >> 32) & 0xFFFF) + (bits >> 48));
    }
    return static_cast<double>(total - 1572840) / 131072.0;
  }

  double student_t3() {
    const double numerator = gaussian();
    const double a = gaussian();
    const double b = gaussian();
    const double c = gaussian();
    return numerator / std::sqrt((a * a + b * b + c * c) / 3.0);
  }

  double sparse() { return (next() >> 32) < 3865470566u ? 0.0 : gaussian(); }

 private:
  SplitMix64 state_;
};

std::vector<float> make_rows(const std::string& distribution, size_t count) {
  Random random(distribution == "gaussian" ? 1 : distribution == "student_t3" ? 2 : distribution == "sparse" ? 3 : 4);
  std::vector<float> values(count);
  for (float& value : values) {
    if (distribution == "gaussian") value = static_cast<float>(0.05 * random.gaussian());
    if (distribution == "student_t3") value = static_cast<float>(0.05 * random.student_t3());
    if (distribution == "sparse") value = static_cast<float>(0.05 * random.sparse());
    if (distribution == "importance") {
      const double z = random.gaussian();
      value = static_cast<float>(0.05 + z * z);
    }
  }
  return values;
}

uint64_t fnv1a(const std::vector<float>& values) {
  uint64_t hash = 0xCBF29CE484222325u;
  std::vector<unsigned char> bytes(values.size() * sizeof(float));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  for (const unsigned char byte : bytes) hash = (hash ^ byte) * 0x100000001B3u;
  return hash;
}

double encode_rmse(const TypeTraits& type, const std::vector<float>& x, int64_t columns, const float* importance) {
  std::vector<std::byte> row(*row_bytes(type.type, static_cast<uint64_t>(columns)));
  std::vector<float> decoded(static_cast<size_t>(columns));
  double error = 0.0;
  double weight = 0.0;
  for (size_t begin = 0; begin < x.size(); begin += decoded.size()) {
    type.encode(x.data() + begin, importance, row.data(), columns);
    type.decode(row.data(), decoded.data(), columns);
    for (size_t i = 0; i < decoded.size(); ++i) {
      const double difference = static_cast<double>(x[begin + i]) - static_cast<double>(decoded[i]);
      const double w = importance != nullptr ? static_cast<double>(importance[i]) : 1.0;
      error += w * difference * difference;
      weight += w;
    }
  }
  return std::sqrt(error / weight);
}

TEST(EncodeError, IsNeverWorseThanLlamaCpp) {
  std::ifstream file(THIMBLE_SOURCE_DIR "/tests/golden/quant_error/llama_cpp_v0.5.0.json");
  const auto reference = nlohmann::json::parse(file);
  const int64_t columns = reference["columns"].get<int64_t>();
  const size_t count = reference["rows"].get<size_t>() * static_cast<size_t>(columns);

  std::map<std::string, std::vector<float>> rows;
  for (const auto& [name, checksum] : reference["fnv1a64"].items()) {
    rows[name] = make_rows(name, name == "importance" ? static_cast<size_t>(columns) : count);
    ASSERT_EQ(fmt::format("{:016x}", fnv1a(rows[name])), checksum.get<std::string>())
        << "the generator differs from the reference's: " << name;
  }

  // Types x distributions x {no importance, importance}.
  EXPECT_EQ(reference["figures"].size(), 12u * 3u * 2u);
  for (const auto& figure : reference["figures"]) {
    const TypeTraits* type = find_type(figure["type"].get<std::string>());
    ASSERT_NE(type, nullptr);
    const auto distribution = figure["distribution"].get<std::string>();
    const bool weighted = figure["importance"].get<bool>();
    const double theirs = figure["rmse"].get<double>();
    const double ours =
        encode_rmse(*type, rows.at(distribution), columns, weighted ? rows.at("importance").data() : nullptr);
    EXPECT_LE(ours, theirs * 1.0005) << figure;
    // For tables of how much is gained: thimble_tensor_test --gtest_output=json:FILE.
    testing::Test::RecordProperty(fmt::format("{} {}{}", type->name, distribution, weighted ? " importance" : ""),
                                  fmt::format("{:.4f}", ours / theirs));
  }
}

}  // namespace
}  // namespace thimble
