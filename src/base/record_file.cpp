// One scanner serves both the reader, which wants a whole file, and the writer, which wants the whole part of a torn
// one.
#include "base/record_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "base/error.h"
#include "base/hash.h"

namespace thimble {

namespace {

constexpr uint32_t kEndMark = 0xffffffff;
constexpr size_t kDigestBytes = sizeof(ContentDigest);
constexpr size_t kRecordHead = sizeof(uint32_t) + kDigestBytes;

template <typename T>
T load(std::span<const std::byte> bytes, size_t at) noexcept {
  T out;
  std::memcpy(&out, bytes.data() + at, sizeof out);
  return out;
}

template <typename T>
void put(std::vector<std::byte>& out, T value) {
  const auto bytes = std::as_bytes(std::span(&value, 1));
  out.insert(out.end(), bytes.begin(), bytes.end());
}

void put(std::vector<std::byte>& out, std::span<const std::byte> bytes) {
  out.insert(out.end(), bytes.begin(), bytes.end());
}

ContentDigest record_digest(uint64_t number, std::span<const std::byte> record) {
  // The number: a record that was moved or repeated is damage too.
  std::vector<std::byte> all;
  all.reserve(sizeof number + record.size());
  put(all, number);
  put(all, record);
  return content_digest(all);
}

ContentDigest end_digest(uint64_t n_records) noexcept {
  return content_digest(std::as_bytes(std::span(&n_records, 1)));
}

bool holds_digest(std::span<const std::byte> bytes, size_t at, const ContentDigest& digest) noexcept {
  return std::equal(digest.begin(), digest.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at));
}

std::vector<std::byte> head_bytes(std::string_view magic, std::string_view header) {
  std::vector<std::byte> out;
  put(out, std::as_bytes(std::span(magic)).first(kRecordMagicBytes));
  put(out, static_cast<uint32_t>(header.size()));
  put(out, std::as_bytes(std::span(header)));
  const ContentDigest digest = content_digest(out);
  put(out, std::span<const std::byte>(digest));
  return out;
}

// How far a file is whole.
struct Scan {
  size_t header_bytes = 0;  // 0: the head is no head of such a file
  std::vector<std::span<const std::byte>> records;
  size_t whole_bytes = 0;  // head and whole records
  bool ended = false;      // an end mark with the right count, and nothing behind it
};

Scan scan(std::span<const std::byte> bytes, std::string_view magic) {
  Scan out;
  constexpr size_t kFixed = kRecordMagicBytes + sizeof(uint32_t);
  if (bytes.size() < kFixed + kDigestBytes || std::memcmp(bytes.data(), magic.data(), kRecordMagicBytes) != 0) {
    return out;
  }
  const size_t header = load<uint32_t>(bytes, kRecordMagicBytes);
  if (header > kMaxRecordHeaderBytes || header > bytes.size() - kFixed - kDigestBytes) return out;
  if (!holds_digest(bytes, kFixed + header, content_digest(bytes.first(kFixed + header)))) return out;
  out.header_bytes = header;
  size_t at = kFixed + header + kDigestBytes;
  for (;;) {
    out.whole_bytes = at;
    if (bytes.size() - at < kRecordHead) return out;
    const auto length = load<uint32_t>(bytes, at);
    const size_t body = at + kRecordHead;
    if (length == kEndMark) {
      const uint64_t n = out.records.size();
      out.ended = bytes.size() - body == sizeof n && load<uint64_t>(bytes, body) == n &&
                  holds_digest(bytes, at + sizeof length, end_digest(n));
      return out;
    }
    if (length > kMaxRecordBytes || length > bytes.size() - body) return out;
    const auto record = bytes.subspan(body, length);
    if (!holds_digest(bytes, at + sizeof length, record_digest(out.records.size(), record))) return out;
    out.records.push_back(record);
    at = body + length;
  }
}

ErrorCode write_error(int error_number) noexcept {
  const bool full = error_number == ENOSPC || error_number == EDQUOT || error_number == EFBIG;
  return full ? ErrorCode::resource_exhausted : ErrorCode::io;
}

int open_unfinished(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (fd < 0) {
    const int e = errno;
    fail(e == ENOENT ? ErrorCode::not_found : ErrorCode::io, "{}: cannot create: {}", path, errno_text(e));
  }
  // A file system without locks (ENOLCK, EOPNOTSUPP) is no reason to refuse work.
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    ::close(fd);
    fail(ErrorCode::io, "{}: found it in use by another process, expected to be its only writer", path);
  }
  return fd;
}

}  // namespace

Records parse_records(std::span<const std::byte> bytes, std::string_view magic, const std::string& source) {
  Scan found = scan(bytes, magic);
  if (found.header_bytes == 0) fail(ErrorCode::corrupt, "{}: found no whole header of '{}'", source, magic);
  if (!found.ended) {
    fail(ErrorCode::corrupt, "{}: record {}: torn or damaged after {} of {} bytes", source, found.records.size(),
         found.whole_bytes, bytes.size());
  }
  const char* const text = reinterpret_cast<const char*>(bytes.data());
  return {{text + kRecordMagicBytes + sizeof(uint32_t), found.header_bytes}, std::move(found.records)};
}

RecordFile::RecordFile(const std::string& path, std::string_view magic)
    : file_(path), parsed_(parse_records(file_.bytes(), magic, path)) {}

RecordWriter::RecordWriter(std::string path, std::string_view magic, std::string_view header,
                           FunctionRef<void(std::span<const std::byte>)> seen)
    : path_(std::move(path)), unfinished_(path_ + ".unfinished"), fd_(open_unfinished(unfinished_)) {
  try {
    const std::vector<std::byte> head = head_bytes(magic, header);
    {
      const MappedFile old(unfinished_);
      const std::span<const std::byte> bytes = old.bytes();
      if (bytes.size() >= head.size() && std::equal(head.begin(), head.end(), bytes.begin())) {
        const Scan found = scan(bytes, magic);
        for (const auto& record : found.records) seen(record);
        n_records_ = found.records.size();
        size_ = found.whole_bytes;
      }
    }
    if (::ftruncate(fd_, static_cast<off_t>(size_)) != 0) {
      fail(ErrorCode::io, "{}: cannot cut off a torn record: {}", unfinished_, errno_text(errno));
    }
    if (size_ == 0) write(head);
  } catch (...) {
    ::close(std::exchange(fd_, -1));
    throw;
  }
}

RecordWriter::~RecordWriter() {
  if (fd_ >= 0) ::close(fd_);
}

void RecordWriter::write(std::span<const std::byte> bytes) {
  for (uint64_t at = size_; !bytes.empty();) {
    const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      const int e = n < 0 ? errno : ENOSPC;
      (void)!::ftruncate(fd_, static_cast<off_t>(size_));  // a reader copes with a torn record as well
      fail(write_error(e), "{}: cannot write: {}", unfinished_, errno_text(e));
    }
    at += static_cast<uint64_t>(n);
    bytes = bytes.subspan(static_cast<size_t>(n));
    if (bytes.empty()) size_ = at;
  }
}

void RecordWriter::append(std::span<const std::byte> record) {
  if (record.size() > kMaxRecordBytes) {
    fail(ErrorCode::resource_exhausted, "{}: found a record of {} bytes, expected at most {}", unfinished_,
         record.size(), kMaxRecordBytes);
  }
  std::vector<std::byte> out;
  out.reserve(kRecordHead + record.size());
  put(out, static_cast<uint32_t>(record.size()));
  const ContentDigest digest = record_digest(n_records_, record);
  put(out, std::span<const std::byte>(digest));
  put(out, record);
  write(out);
  ++n_records_;
}

void RecordWriter::commit() {
  std::vector<std::byte> out;
  put(out, kEndMark);
  const ContentDigest digest = end_digest(n_records_);
  put(out, std::span<const std::byte>(digest));
  put(out, n_records_);
  write(out);
  if (::fsync(fd_) != 0 || ::rename(unfinished_.c_str(), path_.c_str()) != 0) {
    const int e = errno;
    fail(write_error(e), "{}: cannot write: {}", path_, errno_text(e));
  }
  const std::filesystem::path folder = std::filesystem::path(path_).parent_path();
  const int fd = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0) {
    (void)::fsync(fd);  // not every file system can; the rename has happened
    ::close(fd);
  }
  ::close(std::exchange(fd_, -1));
}

}  // namespace thimble
