// Durability: a line is in the kernel when write() returns, which outlives a killed process; fsync per line would only
// guard against power loss and costs milliseconds per item.
#include "base/journal.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace thimble {

namespace {

constexpr uint64_t kMaxJournalBytes = uint64_t{1} << 30;

bool is_full(int error_number) noexcept {
  return error_number == ENOSPC || error_number == EDQUOT || error_number == EFBIG;
}

}  // namespace

Journal::Journal(const std::string& path) : path_(path) {
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (fd_ < 0) {
    const int e = errno;
    fail(e == ENOENT ? ErrorCode::not_found : ErrorCode::io, "{}: cannot open the journal: {}", path, errno_text(e));
  }
  try {
    // A file system without locks (ENOLCK, EOPNOTSUPP) is no reason to refuse work.
    if (::flock(fd_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      fail(ErrorCode::io, "{}: the journal is in use by another process", path);
    }
    const std::string content = read_file(path, kMaxJournalBytes);
    const size_t whole = read_lines(content);
    if (whole != content.size() && ::ftruncate(fd_, static_cast<off_t>(whole)) != 0) {
      fail(ErrorCode::io, "{}: cannot cut off a torn line: {}", path, errno_text(errno));
    }
  } catch (...) {
    ::close(fd_);
    throw;
  }
}

Journal::~Journal() {
  if (fd_ >= 0) ::close(fd_);
}

// Reads complete lines; returns the number of bytes they take.
size_t Journal::read_lines(std::string_view content) {
  size_t at = 0;
  for (int line = 1;; ++line) {
    const size_t end = content.find('\n', at);
    if (end == std::string_view::npos) return at;
    const std::string source = fmt::format("{}: line {}", path_, line);
    const Json json = parse_json(content.substr(at, end - at), source);
    const JsonObject entry(json, source);
    entries_[entry.string("key")] = entry.at("value").dump();
    at = end + 1;
  }
}

std::optional<std::string> Journal::find(const std::string& key) const {
  const std::lock_guard lock(mutex_);
  const auto it = entries_.find(key);
  if (it == entries_.end()) return std::nullopt;
  return it->second;
}

size_t Journal::size() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

std::vector<std::string> Journal::keys() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> out;
  out.reserve(entries_.size());
  for (const auto& entry : entries_) out.push_back(entry.first);
  std::sort(out.begin(), out.end());
  return out;
}

void Journal::append(const std::string& key, const std::string& json) {
  if (!Json::accept(json)) fail(ErrorCode::internal, "{}: value of '{}' is no JSON", path_, key);
  // The value may come with line breaks; dump() has none.
  const std::string value = Json::parse(json).dump();
  const std::string line = fmt::format("{{\"key\":{},\"value\":{}}}\n", Json(key).dump(), value);
  const std::lock_guard lock(mutex_);
  if (fd_ < 0) {
    entries_[key] = value;
    return;
  }
  const off_t before = ::lseek(fd_, 0, SEEK_END);
  size_t done = 0;
  while (done < line.size()) {
    const ssize_t n = ::write(fd_, line.data() + done, line.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int e = errno;
      if (done > 0 && before >= 0) (void)!::ftruncate(fd_, before);  // the reader copes with a torn line as well
      fail(is_full(e) ? ErrorCode::resource_exhausted : ErrorCode::io, "{}: cannot append to the journal: {}", path_,
           errno_text(e));
    }
    done += static_cast<size_t>(n);
  }
  entries_[key] = value;
}

}  // namespace thimble
