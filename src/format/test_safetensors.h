// Builds safetensors images for tests, valid by default.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace thimble {

struct TestTensor {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  std::string bytes;
};

/// `header` behind its length, then `data`.
inline std::string safetensors_image_of(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  std::string image(sizeof(length), '\0');
  std::memcpy(image.data(), &length, sizeof(length));
  return image + header + data;
}

inline std::string safetensors_image(std::span<const TestTensor> tensors) {
  Json header = {{"__metadata__", {{"format", "pt"}}}};
  std::string data;
  for (const TestTensor& t : tensors) {
    header[t.name] = {
        {"dtype", t.dtype}, {"shape", t.shape}, {"data_offsets", {data.size(), data.size() + t.bytes.size()}}};
    data += t.bytes;
  }
  return safetensors_image_of(header.dump(), data);
}

/// `text` with every `path` written as F, so that expected messages do not depend on where a test runs.
inline std::string hide_path(std::string_view text, std::string_view path) {
  std::string out;
  for (size_t at = text.find(path); at != std::string_view::npos; at = text.find(path)) {
    out.append(text.substr(0, at)).append("F");
    text.remove_prefix(at + path.size());
  }
  return out.append(text);
}

template <typename T>
std::string raw_bytes(std::span<const T> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}

}  // namespace thimble
