#include "base/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <utility>
#include <vector>

#include "base/error.h"

namespace thimble {

namespace {

constexpr std::string_view kTemporarySuffix = ".partial";

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const noexcept { return fd_; }

 private:
  int fd_;
};

// Opens a regular file and gives its size; refuses folders and devices (/dev/random never ends).
int open_regular(const std::string& path, size_t* size, int access = O_RDONLY) {
  const int fd = ::open(path.c_str(), access | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    const int e = errno;
    fail(e == ENOENT ? ErrorCode::not_found : ErrorCode::io, "{}: cannot open: {}", path, errno_text(e));
  }
  struct stat info {};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    const bool folder = S_ISDIR(info.st_mode);
    ::close(fd);
    fail(ErrorCode::io, "{}: found {}, expected a regular file", path, folder ? "a folder" : "a special file");
  }
  *size = static_cast<size_t>(info.st_size);
  return fd;
}

// Writes all of `bytes`; 0 or the error number.
int write_all(int fd, uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return n < 0 ? errno : EIO;
    offset += static_cast<uint64_t>(n);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return 0;
}

ErrorCode write_error_code(int error_number) {
  const bool full = error_number == ENOSPC || error_number == EDQUOT || error_number == EFBIG;
  return full ? ErrorCode::resource_exhausted : ErrorCode::io;
}

}  // namespace

MappedFile::MappedFile(const std::string& path) : path_(path) {
  const FileDescriptor fd(open_regular(path, &size_));
  if (size_ == 0) return;
  void* mapped = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (mapped == MAP_FAILED) {
    const int e = errno;
    fail(ErrorCode::resource_exhausted, "{}: cannot map {} bytes: {}", path, size_, errno_text(e));
  }
  data_ = static_cast<const std::byte*>(mapped);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)), path_(std::move(other.path_)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(path_, other.path_);
  return *this;
}

FileStamp file_stamp(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    const int e = errno;
    fail(e == ENOENT ? ErrorCode::not_found : ErrorCode::io, "{}: cannot look at it: {}", path, errno_text(e));
  }
  if (!S_ISREG(info.st_mode)) fail(ErrorCode::io, "{}: found no regular file", path);
  return {static_cast<uint64_t>(info.st_size),
          static_cast<int64_t>(info.st_mtim.tv_sec) * 1'000'000'000 + info.st_mtim.tv_nsec};
}

std::string read_file(const std::string& path, uint64_t max_bytes) {
  size_t size = 0;
  const FileDescriptor fd(open_regular(path, &size));
  if (size > max_bytes) {
    fail(ErrorCode::resource_exhausted, "{}: {} bytes, expected at most {}", path, size, max_bytes);
  }
  std::string content(size, '\0');
  size_t done = 0;
  while (done < size) {
    const ssize_t n = ::read(fd.get(), content.data() + done, size - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(ErrorCode::io, "{}: cannot read: {}", path, errno_text(errno));
    if (n == 0) break;  // shrank meanwhile: what was read stands
    done += static_cast<size_t>(n);
  }
  content.resize(done);
  return content;
}

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)) {
  static std::atomic<unsigned> counter{0};
  std::error_code ignored;
  const std::filesystem::file_status target = std::filesystem::status(path_, ignored);
  if (std::filesystem::exists(target) && !std::filesystem::is_regular_file(target)) {
    // rename() would replace /dev/null for the whole machine, if root asked for it.
    fail(ErrorCode::io, "{}: cannot write: found {}, expected a file name", path_,
         std::filesystem::is_directory(target) ? "a folder" : "a special file");
  }
  while (fd_ < 0) {
    temporary_ = fmt::format("{}.{}.{}{}", path_, ::getpid(), counter.fetch_add(1), kTemporarySuffix);
    const int fd = ::open(temporary_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) {
      const int e = errno;
      // A process of this id was killed once and left its temporary: the next name is free.
      if (e == EEXIST) continue;
      fail(e == ENOENT ? ErrorCode::not_found : ErrorCode::io, "{}: cannot create: {}", path_, errno_text(e));
    }
    // Between open and lock a clean-up may have taken the file for a stale one and removed it: then once more. A file
    // system without locks costs only that its temporaries are never cleaned up.
    ::flock(fd, LOCK_EX | LOCK_NB);
    struct stat info {};
    if (::fstat(fd, &info) == 0 && info.st_nlink == 0) {
      ::close(fd);
      continue;
    }
    fd_ = fd;
  }
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::fail_write(int error_number) const {
  fail(write_error_code(error_number), "{}: cannot write after {} bytes: {}", path_, size_, errno_text(error_number));
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  write_at(size_, bytes);
  size_ += bytes.size();
}

void AtomicFile::write_at(uint64_t offset, std::span<const std::byte> bytes) {
  if (const int error = write_all(fd_, offset, bytes); error != 0) fail_write(error);
}

void AtomicFile::commit() {
  if (::fsync(fd_) != 0) fail_write(errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail_write(errno);
  ::close(std::exchange(fd_, -1));
  const std::string folder = std::filesystem::path(path_).parent_path().string();
  const FileDescriptor dir(::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (dir.get() >= 0) ::fsync(dir.get());  // best effort: the rename itself is already atomic
}

size_t remove_stale_temporaries(const std::string& folder, std::string_view suffix) {
  namespace fs = std::filesystem;
  size_t removed = 0;
  std::error_code error;
  for (auto entry = fs::directory_iterator(folder, error); !error && entry != fs::directory_iterator();
       entry.increment(error)) {
    // TARGET.PID.NUMBER.partial
    std::string name = entry->path().filename().string();
    if (!name.ends_with(kTemporarySuffix)) continue;
    name.resize(name.size() - kTemporarySuffix.size());
    for (int field = 0; field < 2; ++field) name.resize(std::min(name.rfind('.'), name.size()));
    if (name.empty() || !name.ends_with(suffix)) continue;
    const std::string path = entry->path().string();
    const FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW));
    if (fd.get() < 0 || ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) continue;
    if (::unlink(path.c_str()) == 0) ++removed;
  }
  return removed;
}

bool replace_start(const std::string& path, std::span<const std::byte> expected, std::span<const std::byte> bytes) {
  size_t size = 0;
  // One descriptor for both steps: should somebody rename another file to this place, the old one is written.
  const FileDescriptor fd(open_regular(path, &size, O_RDWR));
  std::vector<std::byte> found(expected.size());
  const ssize_t n = ::pread(fd.get(), found.data(), found.size(), 0);
  if (n != static_cast<ssize_t>(found.size()) || !std::equal(found.begin(), found.end(), expected.begin()))
    return false;
  int error = write_all(fd.get(), 0, bytes);
  if (error == 0 && ::fsync(fd.get()) != 0) error = errno;
  if (error != 0) fail(write_error_code(error), "{}: cannot write: {}", path, errno_text(error));
  return true;
}

void write_file_atomically(const std::string& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

}  // namespace thimble
