// A file that takes long to make, piece by piece: what is finished survives the process, and the file appears under its
// name only when it is whole. In the making it is PATH.unfinished, with PATH.unfinished.journal beside it, which names
// the finished pieces and their hashes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/journal.h"

namespace thimble {

class ResumableFile {
 public:
  /// Takes up what an earlier run with the same `key` (a hash of everything that decides the content) left, or begins
  /// anew. Errors: io (cannot be created, in use by another process, `path` is no regular file), not_found (folder).
  ResumableFile(std::string path, uint64_t bytes, std::string key);
  /// Keeps what is finished for the next run, unless discard() or commit() was called.
  ~ResumableFile();
  ResumableFile(const ResumableFile&) = delete;
  ResumableFile& operator=(const ResumableFile&) = delete;

  /// The note of a piece that is finished and whose bytes are still as they were written, or nothing.
  std::optional<std::string> finished(const std::string& piece) const;

  /// Writes a piece at `offset` and notes it as finished, with `note` (JSON). Errors: resource_exhausted (full disk),
  /// io, internal when it lies outside of the file.
  void write(const std::string& piece, uint64_t offset, std::span<const std::byte> bytes, const std::string& note);

  /// fsync, rename over the target, fsync of the folder; the journal is removed. Errors: io, resource_exhausted.
  void commit();
  /// Removes everything: for errors that would come again.
  void discard() noexcept;

 private:
  std::string journal_key(const std::string& piece) const { return key_ + ":" + piece; }
  std::string path_, unfinished_, key_;
  uint64_t bytes_ = 0;
  int fd_ = -1;
  std::unique_ptr<Journal> journal_;
};

}  // namespace thimble
