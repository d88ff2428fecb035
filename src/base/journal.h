// An append-only JSONL file of finished work: one flushed line per item, {"key": ..., "value": ...}. A line torn by a
// kill is dropped on reading and cut off before the next append. May be used by several threads, by one process.
#pragma once

#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace thimble {

class Journal {
 public:
  /// Keeps its lines in memory only.
  Journal() = default;
  /// Opens or creates `path` and reads what it holds. Errors: io (unreadable, or in use by another process), not_found,
  /// corrupt (a whole line that is no journal line: the file is something else and must not be appended to).
  explicit Journal(const std::string& path);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  /// JSON text stored under `key`, or nothing.
  std::optional<std::string> find(const std::string& key) const;
  /// Appends and flushes one line; a later line of the same key replaces an earlier one. Errors: io, resource_exhausted
  /// (full disk; the file is left as it was), internal when `json` is no JSON.
  void append(const std::string& key, const std::string& json);
  /// Number of keys.
  size_t size() const;
  /// All keys, sorted.
  std::vector<std::string> keys() const;

 private:
  size_t read_lines(std::string_view content);

  std::string path_;
  int fd_ = -1;
  mutable std::mutex mutex_;
  std::unordered_map<std::string, std::string> entries_;
};

}  // namespace thimble
