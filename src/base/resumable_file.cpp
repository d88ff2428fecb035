// The unfinished file, its lock and its journal.
#include "base/resumable_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/hash.h"
#include "base/json.h"

namespace thimble {

namespace {

constexpr std::string_view kJournal = ".journal";
constexpr uint64_t kHashPiece = uint64_t{1} << 22;

[[noreturn]] void fail_write(const std::string& path, int error_number) {
  const bool full = error_number == ENOSPC || error_number == EDQUOT || error_number == EFBIG;
  fail(full ? ErrorCode::resource_exhausted : ErrorCode::io, "{}: cannot write: {}", path, errno_text(error_number));
}

void write_all(int fd, uint64_t offset, std::span<const std::byte> bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) fail_write(path, n < 0 ? errno : ENOSPC);
    offset += static_cast<uint64_t>(n);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
}

// Hash of a stretch of the file; nothing when it cannot be read whole.
std::optional<std::string> hash_of(int fd, uint64_t offset, uint64_t bytes) {
  ContentHasher hasher;
  std::vector<std::byte> buffer(std::min(bytes, kHashPiece));
  while (bytes > 0) {
    const ssize_t n = ::pread(fd, buffer.data(), std::min<uint64_t>(bytes, buffer.size()), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return std::nullopt;
    hasher.update({buffer.data(), static_cast<size_t>(n)});
    offset += static_cast<uint64_t>(n);
    bytes -= static_cast<uint64_t>(n);
  }
  return hasher.hash();
}

}  // namespace

ResumableFile::ResumableFile(std::string path, uint64_t bytes, std::string key)
    : path_(std::move(path)), unfinished_(path_ + ".unfinished"), key_(std::move(key)), bytes_(bytes) {
  std::error_code ignored;
  const auto status = std::filesystem::status(path_, ignored);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    fail(ErrorCode::io, "{}: cannot write: found {}, expected a file name", path_,
         std::filesystem::is_directory(status) ? "a folder" : "a special file");
  }
  fd_ = ::open(unfinished_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (fd_ < 0) {
    const int e = errno;
    fail(e == ENOENT ? ErrorCode::not_found : ErrorCode::io, "{}: cannot create: {}", unfinished_, errno_text(e));
  }
  if (::flock(fd_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    ::close(std::exchange(fd_, -1));
    fail(ErrorCode::io, "{}: found it in use by another process, expected to be the only one that writes {}",
         unfinished_, path_);
  }
  try {
    if (::ftruncate(fd_, static_cast<off_t>(bytes_)) != 0) fail_write(unfinished_, errno);
    journal_ = std::make_unique<Journal>(unfinished_ + std::string(kJournal));
  } catch (...) {
    ::close(std::exchange(fd_, -1));
    throw;
  }
}

ResumableFile::~ResumableFile() {
  if (fd_ >= 0) ::close(fd_);
}

std::optional<std::string> ResumableFile::finished(const std::string& piece) const {
  const std::optional<std::string> line = journal_->find(journal_key(piece));
  if (!line) return std::nullopt;
  const Json json = Json::parse(*line, nullptr, false);
  if (!json.is_object() || !json.contains("offset") || !json.contains("bytes") || !json.contains("hash") ||
      !json.contains("note") || !json["offset"].is_number_unsigned() || !json["bytes"].is_number_unsigned()) {
    return std::nullopt;
  }
  const auto offset = json["offset"].get<uint64_t>();
  const auto bytes = json["bytes"].get<uint64_t>();
  if (offset > bytes_ || bytes > bytes_ - offset) return std::nullopt;
  const std::optional<std::string> hash = hash_of(fd_, offset, bytes);
  if (!hash || json["hash"] != *hash) return std::nullopt;
  return json["note"].dump();
}

void ResumableFile::write(const std::string& piece, uint64_t offset, std::span<const std::byte> bytes,
                          const std::string& note) {
  if (offset > bytes_ || bytes.size() > bytes_ - offset) {
    fail(ErrorCode::internal, "{}: piece {} of {} bytes at {} lies outside of {} bytes", path_, piece, bytes.size(),
         offset, bytes_);
  }
  write_all(fd_, offset, bytes, unfinished_);
  const Json line = {{"offset", offset},
                     {"bytes", bytes.size()},
                     {"hash", content_hash(bytes)},
                     {"note", Json::parse(note, nullptr, false)}};
  journal_->append(journal_key(piece), line.dump(-1, ' ', false, Json::error_handler_t::replace));
}

void ResumableFile::commit() {
  if (::fsync(fd_) != 0) fail_write(unfinished_, errno);
  if (::rename(unfinished_.c_str(), path_.c_str()) != 0) fail_write(path_, errno);
  ::close(std::exchange(fd_, -1));
  journal_.reset();
  ::unlink((unfinished_ + std::string(kJournal)).c_str());
  const std::string folder = std::filesystem::path(path_).parent_path().string();
  const int dir = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (dir < 0) return;
  ::fsync(dir);  // best effort: the rename itself is already atomic
  ::close(dir);
}

void ResumableFile::discard() noexcept {
  if (fd_ < 0) return;
  journal_.reset();
  ::unlink(unfinished_.c_str());
  ::unlink((unfinished_ + std::string(kJournal)).c_str());
  ::close(std::exchange(fd_, -1));
}

}  // namespace thimble
