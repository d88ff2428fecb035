// Where tests of this room write.
#pragma once

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <iterator>
#include <string>

namespace thimble {

/// A folder of its own for one test, removed afterwards.
class Folder {
 public:
  Folder()
      : path_(std::filesystem::temp_directory_path() / fmt::format("thimble-quantize-{}-{}", ::getpid(), counter_++)) {
    std::filesystem::create_directories(path_);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  size_t n_entries() const {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(path_), {}));
  }

 private:
  static inline int counter_ = 0;
  std::filesystem::path path_;
};

}  // namespace thimble
