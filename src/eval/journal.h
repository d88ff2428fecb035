// An append-only JSONL file of finished work: one flushed line per item. A line torn by a kill is dropped on reading.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>

namespace thimble {

class Journal {
 public:
  /// Opens or creates `path` and reads what it holds. Errors: io, not_found.
  explicit Journal(const std::string& path);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  /// JSON text stored under `key`, or nothing.
  std::optional<std::string> find(const std::string& key) const;
  /// Appends and flushes one line. Errors: io, resource_exhausted (full disk).
  void append(const std::string& key, const std::string& json);

 private:
  std::string path_;
  int fd_ = -1;
  std::unordered_map<std::string, std::string> entries_;
};

}  // namespace thimble
