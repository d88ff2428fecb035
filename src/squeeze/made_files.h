// Files that a squeeze has made, known by their hashes in its journal: a file that is there and unchanged is not made
// again, and what was measured of one that is gone still counts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/journal.h"
#include "base/progress.h"

namespace thimble {

class MadeFiles {
 public:
  /// Both must outlive it; `task` is told which files are taken and which must be made again.
  MadeFiles(Journal& journal, const Task& task) : journal_(journal), task_(task) {}

  /// Hash of what was made under `key`, wherever the file is now; empty when nothing was.
  /// Errors: corrupt (a journal entry that is no hash).
  std::string hash_of(const std::string& key) const;
  /// Hash of what was made under `key` when it is at `path` and still the same. Errors: as hash_of; io.
  std::optional<std::string> unchanged(const std::string& key, const std::string& path) const;
  /// Notes the hash of what was made under `key`. Errors: as Journal::append.
  void remember(const std::string& key, const std::string& hash);

  /// Size in bytes of the file with this hash; 0 when the journal does not say.
  /// Errors: corrupt (a journal entry that is no number of bytes).
  uint64_t bytes_of(const std::string& hash) const;
  /// Notes the size of the file with this hash. Errors: as Journal::append.
  void remember_bytes(const std::string& hash, uint64_t bytes);

 private:
  Journal& journal_;
  const Task& task_;
};

}  // namespace thimble
