// Test helper: GGUF images built byte by byte, so that tests can say what the writer refuses to say.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "format/gguf.h"

namespace thimble::test {

class GgufImage {
 public:
  /// A number that may take any value without making the file invalid.
  template <typename T>
  GgufImage& value(T number) {
    bytes_.append(reinterpret_cast<const char*>(&number), sizeof(T));
    return *this;
  }
  /// A number that the structure of the file depends on; u64_offsets() remembers where the 64-bit ones are.
  template <typename T>
  GgufImage& put(T number) {
    if constexpr (sizeof(T) == 8) u64_offsets_.push_back(bytes_.size());
    return value(number);
  }
  GgufImage& raw(std::string_view text) {
    bytes_.append(text);
    return *this;
  }
  GgufImage& string(std::string_view text) { return put(uint64_t{text.size()}).raw(text); }
  GgufImage& header(uint64_t n_tensors, uint64_t n_keys, uint32_t version = 3) {
    return raw("GGUF").put(version).put(n_tensors).put(n_keys);
  }
  GgufImage& key(std::string_view name, GgufType type) { return string(name).put(static_cast<uint32_t>(type)); }
  template <typename T>
  GgufImage& key(std::string_view name, GgufType type, T number) {
    return key(name, type).value(number);
  }
  GgufImage& array(std::string_view name, GgufType element, uint64_t count) {
    return key(name, GgufType::array).put(static_cast<uint32_t>(element)).put(count);
  }
  GgufImage& tensor(std::string_view name, const std::vector<uint64_t>& ne, uint32_t type, uint64_t offset) {
    string(name).put(static_cast<uint32_t>(ne.size()));
    for (const uint64_t n : ne) put(n);
    return put(type).put(offset);
  }
  /// Pads to `alignment` and appends `n_bytes` of tensor data.
  GgufImage& data(size_t n_bytes, size_t alignment = 32) {
    while (bytes_.size() % alignment != 0) bytes_.push_back('\0');
    data_start_ = bytes_.size();
    for (size_t i = 0; i < n_bytes; ++i) bytes_.push_back(static_cast<char>(i));
    return *this;
  }

  const std::string& bytes() const { return bytes_; }
  size_t data_start() const { return data_start_; }
  const std::vector<size_t>& u64_offsets() const { return u64_offsets_; }

 private:
  std::string bytes_;
  size_t data_start_ = 0;
  std::vector<size_t> u64_offsets_;
};

/// An image parsed from memory of exactly its size, so that AddressSanitizer sees a read past the end.
class ParsedImage {
 public:
  explicit ParsedImage(std::string_view bytes) : memory_(new std::byte[bytes.size()]) {
    if (!bytes.empty()) std::memcpy(memory_.get(), bytes.data(), bytes.size());
    file_ = GgufFile::parse({memory_.get(), bytes.size()}, "image.gguf");
  }
  const GgufFile* operator->() const { return &file_; }
  const GgufFile& operator*() const { return file_; }

 private:
  std::unique_ptr<std::byte[]> memory_;
  GgufFile file_;
};

/// Runs `action` and checks that it throws Error with `code` and every one of `parts` in the message.
inline void expect_error(const std::function<void()>& action, ErrorCode code, const std::vector<std::string>& parts) {
  try {
    action();
    ADD_FAILURE() << "no error, expected " << error_code_name(code);
  } catch (const Error& e) {
    EXPECT_STREQ(error_code_name(e.code()), error_code_name(code)) << e.what();
    for (const std::string& part : parts) EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
  }
}

inline void expect_refused(const GgufImage& image, ErrorCode code, const std::string& part) {
  expect_error([&] { const ParsedImage parsed(image.bytes()); }, code, {"image.gguf", part});
}

/// A small valid file: every metadata type, arrays of every element type, three tensors of different types.
inline GgufImage full_image(uint32_t version = 3) {
  GgufImage image;
  image.header(3, 26, version);
  image.key("general.architecture", GgufType::string).string("llama");
  image.key("a.u8", GgufType::u8, uint8_t{200}).key("a.i8", GgufType::i8, int8_t{-100});
  image.key("a.u16", GgufType::u16, uint16_t{60000}).key("a.i16", GgufType::i16, int16_t{-30000});
  image.key("a.u32", GgufType::u32, uint32_t{4000000000}).key("a.i32", GgufType::i32, int32_t{-2000000000});
  image.key("a.f32", GgufType::f32, 1.5f).key("a.bool", GgufType::boolean, uint8_t{1});
  image.key("a.string", GgufType::string).string("gr\xC3\xBC\xC3\x9F");
  image.key("a.u64", GgufType::u64, uint64_t{1} << 63).key("a.i64", GgufType::i64, INT64_MIN);
  image.key("a.f64", GgufType::f64, 0.1);
  image.array("v.u8", GgufType::u8, 2).value(uint8_t{1}).value(uint8_t{255});
  image.array("v.i8", GgufType::i8, 1).value(int8_t{-1});
  image.array("v.u16", GgufType::u16, 1).value(uint16_t{65535});
  image.array("v.i16", GgufType::i16, 1).value(int16_t{-2});
  image.array("v.u32", GgufType::u32, 1).value(uint32_t{7});
  image.array("v.i32", GgufType::i32, 2).value(int32_t{-7}).value(int32_t{8});
  image.array("v.f32", GgufType::f32, 2).value(0.25f).value(-2.0f);
  image.array("v.bool", GgufType::boolean, 2).value(uint8_t{0}).value(uint8_t{1});
  image.array("v.string", GgufType::string, 3).string("a").string("").string("\xFF\xFE");
  image.array("v.u64", GgufType::u64, 1).value(uint64_t{9});
  image.array("v.i64", GgufType::i64, 1).value(int64_t{-9});
  image.array("v.f64", GgufType::f64, 1).value(0.5);
  image.array("v.empty", GgufType::i32, 0);
  image.tensor("token_embd.weight", {32, 2}, 8, 0);        // q8_0: 2 rows of 34 bytes
  image.tensor("blk.0.attn_norm.weight", {3}, 0, 96);      // f32: 12 bytes
  image.tensor("blk.0.attn_q.weight", {2, 1, 3}, 1, 128);  // f16: 12 bytes
  return image.data(140);
}

/// A folder that is removed with its content.
class TempFolder {
 public:
  TempFolder() {
    std::string pattern = ::testing::TempDir() + "thimble_format_XXXXXX";
    path_ = ::mkdtemp(pattern.data()) == nullptr ? "" : pattern;
    EXPECT_FALSE(path_.empty());
  }
  ~TempFolder() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  std::string file(std::string_view name) const { return path_ + "/" + std::string(name); }
  size_t n_files() const {
    size_t n = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(path_)) ++n;
    return n;
  }

 private:
  std::string path_;
};

}  // namespace thimble::test
