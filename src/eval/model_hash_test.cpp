#include "eval/model_hash.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <vector>

#include "base/file.h"
#include "base/hash.h"
#include "format/gguf_writer.h"

namespace thimble {
namespace {

namespace fs = std::filesystem;

// One part of a set of two, with one tensor of one value.
void write_part(const std::string& path, uint32_t number, float value) {
  GgufMetadata metadata;
  metadata.set_uint32("split.no", number);
  metadata.set_uint32("split.count", 2);
  metadata.set_uint32("split.tensors.count", 2);
  const std::vector<GgufTensorPlan> tensors = {{number == 0 ? "first" : "second", TensorType::f32, 1, {1, 1, 1, 1}}};
  GgufWriter writer(path, metadata, tensors);
  writer.write(std::as_bytes(std::span(&value, 1)));
  writer.commit();
}

TEST(ModelHash, OfOneFileIsThatOfItsBytesAndOfASetDependsOnEveryPart) {
  const fs::path folder = fs::temp_directory_path() / ("thimble-hash-" + std::to_string(::getpid()));
  fs::create_directories(folder);
  const std::string one = (folder / "one.gguf").string();
  const std::string first = (folder / "m-00001-of-00002.gguf").string();
  const std::string second = (folder / "m-00002-of-00002.gguf").string();
  GgufWriter writer(one, {}, {});
  writer.commit();
  EXPECT_EQ(model_hash(GgufFile::open(one)), content_hash(MappedFile(one).bytes()));
  const auto hash = [&](float a, float b) {
    write_part(first, 0, a);
    write_part(second, 1, b);
    return model_hash(GgufFile::open(first));
  };
  const std::string reference = hash(1, 2);
  EXPECT_EQ(hash(1, 2), reference);
  EXPECT_NE(hash(1, 3), reference);
  EXPECT_NE(hash(3, 2), reference);
  EXPECT_NE(reference, content_hash(MappedFile(first).bytes()));
  fs::remove_all(folder);
}

}  // namespace
}  // namespace thimble
