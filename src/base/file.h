// Files: read-only mappings, whole-file reads with a limit, and atomic replacement (old or new, never torn).
// A writer holds an advisory lock on its temporary, so that what a killed one left can be told from work in progress.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace thimble {

/// A regular file mapped read-only for the life of the object. Movable, not copyable.
class MappedFile {
 public:
  MappedFile() = default;
  /// Errors: not_found, io (unreadable, a directory or device), resource_exhausted (cannot be mapped).
  /// An empty file maps to an empty span.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  const std::string& path() const noexcept { return path_; }

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  std::string path_;
};

/// What a file looks like without reading it.
struct FileStamp {
  uint64_t bytes = 0;
  int64_t mtime_ns = 0;  // since 1970
  bool operator==(const FileStamp&) const = default;
};

/// Errors: not_found, io (no regular file).
FileStamp file_stamp(const std::string& path);

/// Whole content of a regular file. Errors: as MappedFile, and resource_exhausted when longer than `max_bytes`.
std::string read_file(const std::string& path, uint64_t max_bytes);

/// Writes a file beside `path` under a temporary name and renames it over `path` in commit(). Without commit() the
/// temporary is removed and `path` is untouched.
class AtomicFile {
 public:
  /// Errors: io or not_found when the temporary cannot be created (message names `path`).
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Errors: resource_exhausted on a full disk, io otherwise.
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  /// Overwrites `bytes` at an offset already written.
  void write_at(uint64_t offset, std::span<const std::byte> bytes);
  uint64_t size() const noexcept { return size_; }

  /// fsync, rename over the target, fsync of the folder. Nothing may be written afterwards.
  void commit();

 private:
  [[noreturn]] void fail_write(int error_number) const;

  std::string path_;
  std::string temporary_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

/// Removes temporaries in `folder` whose writers are gone, of targets whose names end in `suffix`; gives their number.
/// Temporaries that somebody holds, and what cannot be removed, stay.
size_t remove_stale_temporaries(const std::string& folder, std::string_view suffix);

/// Overwrites the start of `path` in place by `bytes` when it holds `expected` (of the same size), and syncs. False
/// when it holds something else. Not atomic: for records that carry a hash of themselves. Errors: not_found, io,
/// resource_exhausted.
bool replace_start(const std::string& path, std::span<const std::byte> expected, std::span<const std::byte> bytes);

/// Replaces `path` by `text` atomically. Errors: as AtomicFile.
void write_file_atomically(const std::string& path, std::string_view text);

}  // namespace thimble
