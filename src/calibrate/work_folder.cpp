#include "calibrate/work_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace thimble {

namespace fs = std::filesystem;

namespace {

constexpr const char* kFiles[] = {"data", "stream.0", "stream.1", "state.json", "lock"};
constexpr uint64_t kMaxStateBytes = 4096;

void remove_files(const std::string& folder) {
  std::error_code ignored;
  for (const char* name : kFiles) fs::remove(folder + "/" + name, ignored);
  remove_stale_temporaries(folder, ".json");
  fs::remove(folder, ignored);  // only when it is empty
}

ErrorCode write_error_code(int error_number) noexcept {
  return error_number == ENOSPC || error_number == EDQUOT || error_number == EFBIG ? ErrorCode::resource_exhausted
                                                                                   : ErrorCode::io;
}

}  // namespace

WorkFile::WorkFile(std::string path) : path_(std::move(path)) {
  fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (fd_ < 0) {
    const int e = errno;
    fail(e == ENOENT ? ErrorCode::not_found : write_error_code(e), "{}: cannot create: {}", path_, errno_text(e));
  }
}

WorkFile::~WorkFile() {
  if (fd_ >= 0) ::close(fd_);
}

WorkFile::WorkFile(WorkFile&& other) noexcept : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)) {}

WorkFile& WorkFile::operator=(WorkFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  return *this;
}

void WorkFile::read_at(uint64_t offset, std::span<std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t n = ::pread(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(ErrorCode::io, "{}: cannot read: {}", path_, errno_text(errno));
    if (n == 0) fail(ErrorCode::corrupt, "{}: found the end of the file at byte {}; remove its folder", path_, offset);
    bytes = bytes.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
}

void WorkFile::write_at(uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      const int e = n < 0 ? errno : ENOSPC;
      fail(write_error_code(e), "{}: cannot write after {} bytes: {}", path_, offset, errno_text(e));
    }
    bytes = bytes.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
}

void WorkFile::truncate(uint64_t bytes) {
  if (::ftruncate(fd_, static_cast<off_t>(bytes)) != 0) {
    const int e = errno;
    fail(write_error_code(e), "{}: cannot set its length to {} bytes: {}", path_, bytes, errno_text(e));
  }
}

void WorkFile::sync() {
  if (::fdatasync(fd_) != 0) {
    const int e = errno;
    fail(write_error_code(e), "{}: cannot write: {}", path_, errno_text(e));
  }
}

uint64_t WorkFile::size() const {
  struct stat info {};
  if (::fstat(fd_, &info) != 0) fail(ErrorCode::io, "{}: cannot look at it: {}", path_, errno_text(errno));
  return static_cast<uint64_t>(info.st_size);
}

bool WorkFile::lock() {
  return ::flock(fd_, LOCK_EX | LOCK_NB) == 0 || (errno != EWOULDBLOCK && errno != EAGAIN);
}

WorkFolder::WorkFolder(const std::string& output_path, const std::string& key, const Task& task)
    : output_path_(output_path), folder_(output_path + ".work"), key_(key) {
  std::error_code error;
  fs::create_directory(folder_, error);
  if (error) {
    fail(error == std::errc::no_such_file_or_directory ? ErrorCode::not_found : ErrorCode::io,
         "{}: cannot create the folder: {}", folder_, error.message());
  }
  lock_ = WorkFile(file("lock"));
  if (!lock_.lock()) fail(ErrorCode::io, "{}: another calibration is writing this output", folder_);
  for (int i = 0; i < 2; ++i) streams_[i] = WorkFile(file(kFiles[1 + i]));
  data_ = WorkFile(file("data"));
  try {
    const Json json = read_json_file(file("state.json"), kMaxStateBytes);
    const JsonObject state(json, file("state.json"));
    const auto bytes = static_cast<uint64_t>(state.integer("bytes", 0, INT64_MAX));
    if (state.string("key") != key_) {
      task.say(LogLevel::warning, "{}: left by a run with other arguments; starting afresh", folder_);
    } else if (bytes <= data_.size()) {
      stages_ = state.integer("stages", 0, INT32_MAX);
      bytes_ = bytes;
    }
  } catch (const Error& e) {
    // No state: the first run, or one that was killed before its first stage was done.
    if (e.code() != ErrorCode::not_found) task.say(LogLevel::warning, "{}; starting afresh", e.what());
  }
  data_.truncate(bytes_);  // what came after the last finished stage
}

void WorkFolder::append(std::span<const std::byte> bytes) {
  data_.write_at(bytes_, bytes);
  bytes_ += bytes.size();
}

void WorkFolder::read_stream(uint64_t offset, std::span<float> x) const {
  streams_[(stages_ + 1) % 2].read_at(offset * sizeof(float), std::as_writable_bytes(x));
}

void WorkFolder::write_stream(uint64_t offset, std::span<const float> x) {
  streams_[stages_ % 2].write_at(offset * sizeof(float), std::as_bytes(x));
}

void WorkFolder::finish_stage() {
  data_.sync();
  streams_[stages_ % 2].sync();
  ++stages_;
  const Json state = {{"key", key_}, {"stages", stages_}, {"bytes", bytes_}};
  write_file_atomically(file("state.json"), state.dump() + "\n");
}

void WorkFolder::commit() {
  data_.sync();
  std::error_code error;
  fs::rename(data_.path(), output_path_, error);
  if (error) fail(ErrorCode::io, "{}: cannot write: {}", output_path_, error.message());
  remove_files(folder_);
}

void WorkFolder::remove_leftovers(const std::string& output_path) {
  const std::string folder = output_path + ".work";
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) return;
  WorkFile held(folder + "/lock");
  if (held.lock()) remove_files(folder);  // else another run, of other arguments, is at work
}

}  // namespace thimble
