// Binary files of records that grow one record at a time and appear under their name only when they are whole.
// In the making a file is PATH.unfinished; a killed writer goes on after its last whole record. Layout, little-endian:
//   8 bytes magic | u32 header bytes | header | 16 bytes digest of all before
//   each record:  u32 bytes | 16 bytes digest of (u64 number of the record, record) | record
//   at the end:   u32 0xffffffff | 16 bytes digest of the u64 | u64 number of records
// Digests are content_digest() (XXH3-128): they find torn and damaged files, not forged ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/function_ref.h"

namespace thimble {

constexpr size_t kRecordMagicBytes = 8;
constexpr uint32_t kMaxRecordBytes = uint32_t{1} << 30;
constexpr uint32_t kMaxRecordHeaderBytes = uint32_t{1} << 24;

/// What a finished file holds: views of its bytes.
struct Records {
  std::string_view header;
  std::vector<std::span<const std::byte>> records;
};
/// `magic` has kRecordMagicBytes; `source` names the file in errors. Errors: corrupt (another magic, torn, damaged,
/// bytes behind the end), naming the record.
Records parse_records(std::span<const std::byte> bytes, std::string_view magic, const std::string& source);

/// A finished file, checked whole on opening. Movable.
class RecordFile {
 public:
  /// Errors: as MappedFile and parse_records.
  RecordFile(const std::string& path, std::string_view magic);
  std::string_view header() const noexcept { return parsed_.header; }
  std::span<const std::span<const std::byte>> records() const noexcept { return parsed_.records; }

 private:
  MappedFile file_;
  Records parsed_;
};

class RecordWriter {
 public:
  /// Goes on with what an earlier writer of `path` with the same magic and header left, showing each of its whole
  /// records to `seen`; what is torn or damaged is cut off, anything else in PATH.unfinished is overwritten. Errors: io
  /// (cannot be created, in use by another process), not_found (folder).
  RecordWriter(std::string path, std::string_view magic, std::string_view header,
               FunctionRef<void(std::span<const std::byte>)> seen);
  /// Keeps what is written for the next run.
  ~RecordWriter();
  RecordWriter(const RecordWriter&) = delete;
  RecordWriter& operator=(const RecordWriter&) = delete;

  /// Appends a record with one write: it outlives a killed process. Errors: resource_exhausted (full disk), io.
  void append(std::span<const std::byte> record);
  /// Writes the end, fsync, rename to `path`. Nothing may be appended afterwards. Errors: as append.
  void commit();

 private:
  void write(std::span<const std::byte> bytes);
  std::string path_, unfinished_;
  int fd_ = -1;
  uint64_t size_ = 0;
  uint64_t n_records_ = 0;
};

}  // namespace thimble
