// Valid files: every metadata type, typed getters, split sets, and the vocabularies of real models.
#include "format/gguf.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "base/file.h"
#include "format/gguf_test_image.h"

namespace thimble {

namespace {

using test::expect_error;
using test::full_image;
using test::GgufImage;
using test::ParsedImage;
using test::TempFolder;

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();

class GgufVersion : public ::testing::TestWithParam<uint32_t> {};

TEST_P(GgufVersion, ReadsEveryMetadataType) {
  const ParsedImage file(full_image(GetParam()).bytes());
  EXPECT_EQ(file->version(), GetParam());
  EXPECT_EQ(file->alignment(), 32u);
  ASSERT_EQ(file->metadata().size(), 26u);
  EXPECT_EQ(file->get_uint("a.u8", 0, kMax), 200u);
  EXPECT_EQ(std::get<int8_t>(file->find("a.i8")->value), -100);
  EXPECT_EQ(file->get_uint("a.u16", 0, kMax), 60000u);
  EXPECT_EQ(std::get<int16_t>(file->find("a.i16")->value), -30000);
  EXPECT_EQ(file->get_uint("a.u32", 0, kMax), 4000000000u);
  EXPECT_EQ(std::get<int32_t>(file->find("a.i32")->value), -2000000000);
  EXPECT_EQ(file->get_float("a.f32"), 1.5);
  EXPECT_TRUE(file->get_bool("a.bool", false));
  EXPECT_EQ(file->get_string("a.string"), "gr\xC3\xBC\xC3\x9F");
  EXPECT_EQ(file->get_uint("a.u64", 0, kMax), uint64_t{1} << 63);
  EXPECT_EQ(std::get<int64_t>(file->find("a.i64")->value), INT64_MIN);
  EXPECT_EQ(file->get_float("a.f64"), 0.1);
  for (const GgufKeyValue& kv : file->metadata()) {
    EXPECT_EQ(file->find(kv.key), &kv);
    if (kv.key.starts_with("a.")) {
      EXPECT_EQ(gguf_type_name(kv.type()), kv.key.substr(2));
    }
    if (kv.key.starts_with("v.") && kv.key != "v.empty") {
      EXPECT_EQ(gguf_type_name(std::get<GgufArray>(kv.value).element_type), kv.key.substr(2));
    }
  }
}

TEST_P(GgufVersion, ReadsArrays) {
  const ParsedImage file(full_image(GetParam()).bytes());
  using Ints = std::vector<int64_t>;
  EXPECT_EQ(file->get_ints("v.u8"), (Ints{1, 255}));
  EXPECT_EQ(file->get_ints("v.i8"), Ints{-1});
  EXPECT_EQ(file->get_ints("v.u16"), Ints{65535});
  EXPECT_EQ(file->get_ints("v.i16"), Ints{-2});
  EXPECT_EQ(file->get_ints("v.u32"), Ints{7});
  EXPECT_EQ(file->get_ints("v.i32"), (Ints{-7, 8}));
  EXPECT_EQ(file->get_ints("v.u64"), Ints{9});
  EXPECT_EQ(file->get_ints("v.i64"), Ints{-9});
  EXPECT_EQ(file->get_ints("v.empty"), Ints{});
  EXPECT_EQ(file->get_floats("v.f32"), (std::vector<float>{0.25f, -2.0f}));
  EXPECT_EQ(file->get_floats("v.f64"), std::vector<float>{0.5f});
  EXPECT_EQ(file->get_floats("v.i32"), (std::vector<float>{-7.0f, 8.0f}));
  EXPECT_EQ(std::get<GgufArray>(file->find("v.bool")->value).count, 2u);
  ASSERT_NE(file->get_strings("v.string"), nullptr);
  EXPECT_EQ(*file->get_strings("v.string"), (std::vector<std::string_view>{"a", "", "\xFF\xFE"}));
}

TEST_P(GgufVersion, ViewsTensorsInPlace) {
  const GgufImage image = full_image(GetParam());
  const auto bytes = std::as_bytes(std::span(image.bytes()));
  const GgufFile file = GgufFile::parse(bytes, "image.gguf");
  ASSERT_EQ(file.tensors().size(), 3u);
  const GgufTensor& q8 = file.tensor("token_embd.weight");
  EXPECT_EQ(q8.view.type, TensorType::q8_0);
  EXPECT_EQ(q8.n_dims, 2u);
  EXPECT_EQ(q8.view.ne, (std::array<int64_t, 4>{32, 2, 1, 1}));
  EXPECT_EQ(q8.view.data.data(), bytes.data() + image.data_start());
  EXPECT_EQ(q8.view.data.size(), 68u);
  EXPECT_EQ(q8.view.row_bytes(), 34u);
  const GgufTensor& f16 = file.tensor("blk.0.attn_q.weight");
  EXPECT_EQ(f16.view.ne, (std::array<int64_t, 4>{2, 1, 3, 1}));
  EXPECT_EQ(f16.view.data.data(), bytes.data() + image.data_start() + 128);
  EXPECT_EQ(f16.view.data.size(), 12u);
  EXPECT_EQ(file.find_tensor("absent"), nullptr);
  EXPECT_EQ(file.file_bytes(), image.bytes().size());
}

INSTANTIATE_TEST_SUITE_P(Both, GgufVersion, ::testing::Values(2u, 3u));

TEST(Gguf, GettersNameFileKeyFoundAndExpected) {
  const ParsedImage file(full_image().bytes());
  const auto refuses = [&](const std::function<void()>& get, const std::vector<std::string>& parts) {
    expect_error(get, ErrorCode::corrupt, parts);
  };
  refuses([&] { file->get_uint("absent", 0, 1); }, {"image.gguf", "'absent'", "missing"});
  refuses([&] { file->get_uint("a.u8", 0, 199); }, {"image.gguf", "'a.u8'", "u8 200", "from 0 to 199"});
  refuses([&] { file->get_uint("a.u8", 201, kMax); }, {"'a.u8'"});
  refuses([&] { file->get_uint("a.i8", 0, kMax); }, {"i8 -100"});
  refuses([&] { file->get_uint("a.i64", 0, kMax); }, {"i64 -9223372036854775808"});
  refuses([&] { file->get_uint("a.bool", 0, 1); }, {"bool true"});
  refuses([&] { file->get_uint("a.f32", 0, 9); }, {"f32 1.5"});
  refuses([&] { file->get_float("a.u8"); }, {"u8 200", "finite"});
  refuses([&] { file->get_bool("a.u8", true); }, {"expected a bool"});
  refuses([&] { file->get_string("v.i32"); }, {"array of 2 i32", "expected a string"});
  refuses([&] { file->get_strings("v.i32"); }, {"array of strings"});
  refuses([&] { file->get_strings("a.string"); }, {"array of strings"});
  refuses([&] { file->get_ints("v.f32"); }, {"integers"});
  refuses([&] { file->get_ints("v.bool"); }, {"integers"});
  refuses([&] { file->get_floats("v.string"); }, {"numbers"});
  refuses([&] { file->get_floats("a.f32"); }, {"numbers"});
  refuses([&] { file->tensor("output.weight"); }, {"image.gguf", "'output.weight'", "missing"});
}

TEST(Gguf, GettersFallBackOnlyWhenTheKeyIsMissing) {
  const ParsedImage file(full_image().bytes());
  EXPECT_EQ(file->get_uint("absent", 5, 6, 99), 99u);
  EXPECT_EQ(file->get_float("absent", 2.5), 2.5);
  EXPECT_TRUE(file->get_bool("absent", true));
  EXPECT_EQ(file->get_string("absent", "x"), "x");
  EXPECT_EQ(file->get_strings("absent"), nullptr);
  EXPECT_FALSE(file->get_ints("absent").has_value());
  EXPECT_FALSE(file->get_floats("absent").has_value());
  EXPECT_THROW(file->get_uint("a.string", 0, 1, 0), Error);
  EXPECT_THROW(file->get_float("a.string", 0.0), Error);
  EXPECT_THROW(file->get_string("a.u8", ""), Error);
}

TEST(Gguf, RefusesFloatsThatAreNotFinite) {
  GgufImage image;
  image.header(0, 1).key("x", GgufType::f32, std::numeric_limits<float>::infinity());
  const ParsedImage file(image.bytes());
  EXPECT_THROW(file->get_float("x"), Error);
}

TEST(Gguf, RefusesIntegersBeyondInt64InArrays) {
  GgufImage image;
  image.header(0, 1).array("x", GgufType::u64, 1).put(uint64_t{1} << 63);
  const ParsedImage file(image.bytes());
  EXPECT_THROW(file->get_ints("x"), Error);
}

TEST(Gguf, HonoursAlignment) {
  GgufImage image;
  image.header(2, 1).key("general.alignment", GgufType::u32, uint32_t{128});
  image.tensor("a", {1}, 0, 0).tensor("b", {1}, 0, 128).data(132, 128);
  const ParsedImage file(image.bytes());
  EXPECT_EQ(file->alignment(), 128u);
  EXPECT_EQ(file->tensor("b").view.data.data() - file->tensor("a").view.data.data(), 128);
}

TEST(Gguf, NeedsNoPaddingAfterTheMetadataOfAFileWithoutTensors) {
  GgufImage image;
  image.header(0, 1).key("a", GgufType::u8, uint8_t{1});
  EXPECT_NE(image.bytes().size() % 32, 0u);
  EXPECT_EQ(ParsedImage(image.bytes())->tensors().size(), 0u);
}

// Vocabulary sizes are those of the models' public configurations.
TEST(Gguf, ReadsVocabulariesOfRealModels) {
  const std::vector<std::tuple<const char*, const char*, size_t>> kFiles = {{"gpt-2", "gpt2", 50257},
                                                                            {"llama-bpe", "llama", 128256},
                                                                            {"llama-spm", "llama", 32000},
                                                                            {"phi-3", "phi3", 32064},
                                                                            {"qwen2", "qwen2", 151936}};
  for (const auto& [name, architecture, n_vocab] : kFiles) {
    const GgufFile file =
        GgufFile::open(std::string(THIMBLE_SOURCE_DIR "/tests/golden/tokenizers/ggml-vocab-") + name + ".gguf");
    EXPECT_EQ(file.get_string("general.architecture"), architecture);
    const auto* tokens = file.get_strings("tokenizer.ggml.tokens");
    ASSERT_NE(tokens, nullptr) << name;
    EXPECT_EQ(tokens->size(), n_vocab) << name;
  }
}

// One part of a split set: `number` of `count`, holding one tensor.
std::string split_part(uint64_t number, uint64_t count, uint64_t n_tensors, const std::string& tensor) {
  GgufImage image;
  image.header(1, 3).key("split.no", GgufType::u16, static_cast<uint16_t>(number));
  image.key("split.count", GgufType::u16, static_cast<uint16_t>(count));
  image.key("split.tensors.count", GgufType::i32, static_cast<int32_t>(n_tensors));
  return image.tensor(tensor, {3}, 0, 0).data(12).bytes();
}

class GgufSplit : public ::testing::Test {
 protected:
  std::string part(int number) const { return folder_.file(fmt::format("m-{:05}-of-00003.gguf", number)); }
  void SetUp() override {
    for (int i = 0; i < 3; ++i) write_file_atomically(part(i + 1), split_part(i, 3, 3, fmt::format("t{}", i)));
  }
  TempFolder folder_;
};

TEST_F(GgufSplit, OpensAllPartsThroughTheFirst) {
  const GgufFile file = GgufFile::open(part(1));
  ASSERT_EQ(file.tensors().size(), 3u);
  for (const char* name : {"t0", "t1", "t2"}) {
    ASSERT_EQ(file.tensor(name).view.data.size(), 12u);
    EXPECT_EQ(file.tensor(name).view.data[11], std::byte{11});
  }
  EXPECT_EQ(file.file_bytes(), 3 * std::filesystem::file_size(part(1)));
}

TEST_F(GgufSplit, NamesTheFirstPartWhenAnotherIsOpened) {
  expect_error([&] { GgufFile::open(part(2)); }, ErrorCode::invalid_argument, {part(2), "part 2", part(1)});
}

TEST_F(GgufSplit, NamesAMissingPart) {
  std::filesystem::remove(part(3));
  expect_error([&] { GgufFile::open(part(1)); }, ErrorCode::corrupt, {part(1), part(3), "missing"});
}

TEST_F(GgufSplit, RefusesARenamedFirstPart) {
  std::filesystem::rename(part(1), folder_.file("model.gguf"));
  expect_error([&] { GgufFile::open(folder_.file("model.gguf")); }, ErrorCode::invalid_argument,
               {"model.gguf", "-00001-of-00003.gguf"});
}

TEST_F(GgufSplit, RefusesPartsThatDoNotBelongTogether) {
  const auto refuses = [&](const std::string& bytes, const std::vector<std::string>& parts) {
    write_file_atomically(part(2), bytes);
    expect_error([&] { GgufFile::open(part(1)); }, ErrorCode::corrupt, parts);
  };
  refuses(split_part(2, 3, 3, "t1"), {part(2), "'split.no'", "u16 2", "integer 1"});
  refuses(split_part(1, 4, 3, "t1"), {part(2), "'split.count'"});
  refuses(split_part(1, 3, 4, "t1"), {part(2), "'split.tensors.count'"});
  refuses(split_part(1, 3, 3, "t0"), {part(2), "'t0'", "earlier part"});
  refuses(full_image().bytes(), {part(2), "'split.no'", "missing"});
  refuses("", {part(2)});
}

TEST_F(GgufSplit, RefusesAWrongTensorCount) {
  for (int i = 0; i < 3; ++i) write_file_atomically(part(i + 1), split_part(i, 3, 4, fmt::format("t{}", i)));
  expect_error([&] { GgufFile::open(part(1)); }, ErrorCode::corrupt, {part(1), "found 3 tensors", "expected 4"});
}

TEST(Gguf, OpenRefusesFoldersMissingAndEmptyFiles) {
  const TempFolder folder;
  expect_error([&] { GgufFile::open(folder.file("absent.gguf")); }, ErrorCode::not_found, {"absent.gguf"});
  expect_error([&] { GgufFile::open(folder.file("")); }, ErrorCode::io, {"folder"});
  write_file_atomically(folder.file("empty.gguf"), "");
  expect_error([&] { GgufFile::open(folder.file("empty.gguf")); }, ErrorCode::corrupt, {"empty.gguf", "0 bytes"});
}

}  // namespace

}  // namespace thimble
