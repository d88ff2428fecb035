// safetensors reader: views of valid images and files, and one exact error for each way a header can lie.
#include "format/safetensors.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "format/test_safetensors.h"

namespace thimble {
namespace {

namespace fs = std::filesystem;

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

// "CODE: message" of the error that parsing gives, or "".
std::string image_error(const std::string& image) {
  try {
    SafetensorsFile::parse(bytes_of(image), "t");
  } catch (const Error& e) {
    return fmt::format("{}: {}", error_code_name(e.code()), e.what());
  }
  return "";
}

std::string header_error(const std::string& header, const std::string& data = "") {
  return image_error(safetensors_image_of(header, data));
}

std::string valid_image() {
  const std::vector<float> values = {1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f};
  return safetensors_image(std::vector<TestTensor>{
      {"m", "F32", {2, 3}, raw_bytes<float>(values)}, {"scalar", "BF16", {}, "ab"}, {"none", "I64", {0, 7}, ""}});
}

TEST(Safetensors, ViewsWithoutCopying) {
  const std::string image = valid_image();
  const SafetensorsFile file = SafetensorsFile::parse(bytes_of(image), "t");
  ASSERT_EQ(file.tensors().size(), 3u);
  const SafetensorsTensor* m = file.find("m");
  ASSERT_NE(m, nullptr);
  EXPECT_EQ(m->type, SafetensorsType::f32);
  EXPECT_EQ(m->shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(m->data.size(), 24u);
  const auto* begin = reinterpret_cast<const char*>(m->data.data());
  EXPECT_TRUE(begin > image.data() && begin < image.data() + image.size());
  EXPECT_EQ(file.find("scalar")->data.size(), 2u);
  EXPECT_TRUE(file.find("none")->data.empty());
  EXPECT_EQ(file.find("other"), nullptr);
}

TEST(Safetensors, KnowsEveryType) {
  for (const auto& [name, bytes] : std::vector<std::pair<std::string, size_t>>{{"F64", 8},
                                                                               {"F32", 4},
                                                                               {"F16", 2},
                                                                               {"BF16", 2},
                                                                               {"I8", 1},
                                                                               {"I16", 2},
                                                                               {"I32", 4},
                                                                               {"I64", 8},
                                                                               {"U8", 1},
                                                                               {"U16", 2},
                                                                               {"U32", 4},
                                                                               {"U64", 8},
                                                                               {"BOOL", 1}}) {
    const std::string image = safetensors_image(std::vector<TestTensor>{{"x", name, {3}, std::string(3 * bytes, 'x')}});
    const SafetensorsFile file = SafetensorsFile::parse(bytes_of(image), "t");
    EXPECT_EQ(safetensors_type_name(file.find("x")->type), name);
  }
  EXPECT_EQ(header_error(R"({"x":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}})", "x"),
            "unsupported: t: tensor 'x': element type 'F8_E4M3' is not known, expected F64, F32, F16, BF16, an integer "
            "or BOOL");
}

TEST(Safetensors, TruncatedAnywhereIsCorrupt) {
  const std::string image = valid_image();
  for (size_t length = 0; length < image.size(); ++length) {
    const std::string error = image_error(image.substr(0, length));
    EXPECT_TRUE(error.starts_with("corrupt: t: ")) << length << ": " << error;
  }
  EXPECT_EQ(image_error(""), "corrupt: t: 0 bytes, expected at least 8 for the header length");
  EXPECT_EQ(image_error(image.substr(0, 20)),
            fmt::format("corrupt: t: header of {} bytes, expected at most 12 (the rest of the file)",
                        static_cast<unsigned char>(image[0])));
  EXPECT_EQ(image_error(image + "x"), "corrupt: t: found 27 bytes of data, expected 26 (the end of the last tensor)");
  EXPECT_EQ(image_error(std::string(8, '\xff')),
            "corrupt: t: header of 18446744073709551615 bytes, expected at most 0 (the rest of the file)");
}

TEST(Safetensors, SizesThatLie) {
  EXPECT_EQ(
      header_error(
          R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})",
          "123456"),
      "corrupt: t: tensor 'b' starts at data byte 2, expected 4: it overlaps the tensor before it");
  EXPECT_EQ(
      header_error(
          R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[4,6]}})",
          "123456"),
      "corrupt: t: tensor 'b' starts at data byte 4, expected 2: there is a hole before it");
  EXPECT_EQ(header_error(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})"),
            "corrupt: t: tensor 'a': the size of its shape does not fit 64 bits");
  EXPECT_EQ(header_error(R"({"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4]}})", "1234"),
            "corrupt: t: tensor 'a': data_offsets span 4 bytes, expected 4398046511104 for F32 [1099511627776]");
  EXPECT_EQ(header_error(R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}})", "1234"),
            "corrupt: t: tensor 'a': data_offsets [0, 8], expected begin <= end <= 4 (the bytes of data in the file)");
  EXPECT_EQ(header_error(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[2,1]}})", "1234"),
            "corrupt: t: tensor 'a': data_offsets [2, 1], expected begin <= end <= 4 (the bytes of data in the file)");
  EXPECT_EQ(header_error(R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})", "1"),
            "corrupt: t: tensor 'a': key 'shape': found number -1, expected a non-negative 63-bit integer");
  EXPECT_EQ(header_error(R"({"a":{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,1]}})", "1"),
            "corrupt: t: tensor 'a': key 'shape': found number 18446744073709551615, expected a non-negative 63-bit "
            "integer");
  EXPECT_EQ(header_error(R"({"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}})", "1"),
            "corrupt: t: tensor 'a': key 'shape': found array of 9 values, expected an array of at most 8");
}

TEST(Safetensors, HeadersThatAreNoHeaders) {
  EXPECT_EQ(header_error(""), "corrupt: t: the header does not start with '{', expected a JSON object");
  EXPECT_EQ(header_error("[]"), "corrupt: t: the header does not start with '{', expected a JSON object");
  EXPECT_EQ(header_error(R"({"a":1})"), "corrupt: t: tensor 'a': found number 1, expected an object");
  EXPECT_EQ(header_error(R"({"a":{}})"), "corrupt: t: tensor 'a': key 'dtype' is missing");
  EXPECT_EQ(header_error(R"({"__metadata__":3})"),
            "corrupt: t: key '__metadata__': found number 3, expected an object");
  EXPECT_EQ(
      header_error(
          R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
          "1"),
      "corrupt: t: key 'a' occurs twice in the header");
  EXPECT_EQ(header_error(R"({"a":{"dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1]}})", "1"),
            "corrupt: t: key 'shape' occurs twice in the header");
  EXPECT_TRUE(header_error("{\"\xff\":1}").starts_with("corrupt: t: not valid JSON: ")) << header_error("{\"\xff\":1}");
  EXPECT_EQ(header_error("{\"a\":" + std::string(100000, '[')),
            "corrupt: t: JSON nested 100001 deep, expected at most 64");
  EXPECT_EQ(image_error(safetensors_image_of("{}", "")), "");
}

class SafetensorsFolder : public testing::Test {
 protected:
  void SetUp() override {
    folder_ =
        fs::path(testing::TempDir()) /
        fmt::format("safetensors_{}_{}", testing::UnitTest::GetInstance()->current_test_info()->name(), ::getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  void write(const std::string& name, const std::string& content) const {
    std::ofstream(folder_ / name, std::ios::binary) << content;
  }
  void write_shard(const std::string& name, const std::string& tensor) const {
    write(name, safetensors_image(std::vector<TestTensor>{{tensor, "U8", {1}, tensor.substr(0, 1)}}));
  }
  // The error of open_model with the folder's path shown as F.
  std::string error() const {
    try {
      SafetensorsFile::open_model(folder_.string());
    } catch (const Error& e) {
      return fmt::format("{}: {}", error_code_name(e.code()), hide_path(e.what(), folder_.string()));
    }
    return "";
  }
  fs::path folder_;
};

TEST_F(SafetensorsFolder, OpensShards) {
  write_shard("one.safetensors", "a");
  write_shard("two.safetensors", "b");
  write("model.safetensors.index.json",
        R"({"metadata":{},"weight_map":{"a":"one.safetensors","b":"two.safetensors"}})");
  const SafetensorsFile file = SafetensorsFile::open_model(folder_.string());
  EXPECT_EQ(static_cast<char>(file.find("a")->data[0]), 'a');
  EXPECT_EQ(static_cast<char>(file.find("b")->data[0]), 'b');
  EXPECT_EQ(file.paths().size(), 2u);
}

TEST_F(SafetensorsFolder, IndexAndShardsMustAgree) {
  write_shard("one.safetensors", "a");
  write("model.safetensors.index.json", R"({"weight_map":{"a":"one.safetensors","b":"one.safetensors"}})");
  EXPECT_EQ(error(),
            "corrupt: F/model.safetensors.index.json: tensor 'b' is not in one.safetensors, where the index has it");
  write_shard("two.safetensors", "a");
  write("model.safetensors.index.json", R"({"weight_map":{"a":"one.safetensors","b":"two.safetensors"}})");
  EXPECT_EQ(error(), "corrupt: F/two.safetensors: tensor 'a' is in it, but the index has it in one.safetensors");
  write("model.safetensors.index.json", R"({"weight_map":{"z":"one.safetensors"}})");
  EXPECT_EQ(error(), "corrupt: F/one.safetensors: tensor 'a' is in it, but the index has it in no shard");
  write("model.safetensors.index.json", R"({"weight_map":{"a":"gone.safetensors"}})");
  EXPECT_EQ(error(), "not found: F/gone.safetensors: cannot open: No such file or directory");
  write("model.safetensors.index.json", R"({"weight_map":{}})");
  EXPECT_EQ(error(), "corrupt: F/model.safetensors.index.json: key 'weight_map' is empty");
  write("model.safetensors.index.json", R"({"weight_map":{"a":1}})");
  EXPECT_EQ(error(),
            "corrupt: F/model.safetensors.index.json: key 'weight_map': key 'a': found number 1, expected a string");
  write("model.safetensors.index.json", "");
  EXPECT_TRUE(error().starts_with("corrupt: F/model.safetensors.index.json: not valid JSON: ")) << error();
}

TEST_F(SafetensorsFolder, ShardNamesStayInside) {
  for (const std::string name : {"../x", "/etc/passwd", "a/b", "..", ".", "", "a\\\\b"}) {
    write("model.safetensors.index.json", R"({"weight_map":{"a":")" + name + R"("}})");
    const std::string shown = name == "a\\\\b" ? "a\\b" : name;
    EXPECT_EQ(error(), "corrupt: F/model.safetensors.index.json: shard '" + shown +
                           "', expected a plain file name inside the folder");
  }
  write("model.safetensors.index.json", R"({"weight_map":{"a":"x\u0000y"}})");
  EXPECT_EQ(error(),
            "corrupt: F/model.safetensors.index.json: shard 'with a zero byte', expected a plain file name inside the "
            "folder");
}

TEST_F(SafetensorsFolder, LinksStayInsideOrInTheHubCache) {
  fs::create_directories(folder_ / "snapshots" / "rev");
  fs::create_directories(folder_ / "blobs");
  write_shard("blobs/hash", "a");
  write_shard("outside", "a");
  const fs::path home = folder_ / "snapshots" / "rev";
  fs::create_symlink("../../blobs/hash", home / "model.safetensors");
  EXPECT_NE(SafetensorsFile::open_model(home.string()).find("a"), nullptr);
  fs::remove(home / "model.safetensors");
  fs::create_symlink("../../outside", home / "model.safetensors");
  EXPECT_THROW(
      {
        try {
          SafetensorsFile::open_model(home.string());
        } catch (const Error& e) {
          EXPECT_EQ(e.what(), (home / "model.safetensors").string() + ": links to " +
                                  fs::canonical(folder_ / "outside").string() + ", expected a file inside the folder");
          throw;
        }
      },
      Error);
}

TEST_F(SafetensorsFolder, NothingToOpen) {
  EXPECT_EQ(error(),
            "not found: F: no model.safetensors and no model.safetensors.index.json in it (pickled .bin weights are "
            "not read)");
  fs::create_directory(folder_ / "model.safetensors");
  EXPECT_EQ(error(), "i/o error: F/model.safetensors: found a folder, expected a regular file");
  fs::remove(folder_ / "model.safetensors");
  write("model.safetensors", "");
  EXPECT_EQ(error(), "corrupt: F/model.safetensors: 0 bytes, expected at least 8 for the header length");
}

}  // namespace
}  // namespace thimble
