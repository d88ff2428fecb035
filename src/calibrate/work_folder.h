// Work files of a calibration run, in the folder OUTPUT.work beside the output: the output as far as it goes, the
// residual stream before and after the present layer, and a record of the stages that are done. The record is written
// after what it speaks of, so a run may be killed at any moment and goes on from its last finished stage.
//
//   lock        held by the run
//   state.json  {"key", "stages", "bytes"}: what the run is, stages done, bytes of `data` that they made
//   data        becomes the output
//   stream.0/1  residual streams f32 [n_tokens, n_embd]: stage i leaves its result in stream.(i % 2)
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/progress.h"

namespace thimble {

/// A file that is written and read at offsets. Errors name it.
class WorkFile {
 public:
  WorkFile() = default;
  /// Opens or creates it. Errors: io, not_found.
  explicit WorkFile(std::string path);
  ~WorkFile();
  WorkFile(WorkFile&& other) noexcept;
  WorkFile& operator=(WorkFile&& other) noexcept;
  WorkFile(const WorkFile&) = delete;
  WorkFile& operator=(const WorkFile&) = delete;

  /// Errors: io, corrupt when the file is shorter.
  void read_at(uint64_t offset, std::span<std::byte> bytes) const;
  /// Errors: resource_exhausted on a full disk, io.
  void write_at(uint64_t offset, std::span<const std::byte> bytes);
  void truncate(uint64_t bytes);
  void sync();
  uint64_t size() const;
  /// False when another process holds it.
  bool lock();
  const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
  int fd_ = -1;
};

class WorkFolder {
 public:
  /// Opens or creates the folder for a run described by `key` (what its bytes depend on) and takes up what an earlier
  /// run of the same key has done; another key starts afresh. Errors: io (also when another run is at work), not_found,
  /// resource_exhausted.
  WorkFolder(const std::string& output_path, const std::string& key, const Task& task);

  int64_t stages_done() const noexcept { return stages_; }

  /// Appends to the output. Pieces may be of any size.
  void append(std::span<const std::byte> bytes);
  uint64_t bytes() const noexcept { return bytes_; }

  /// Result of the last finished stage, and of the present one; offsets in floats.
  void read_stream(uint64_t offset, std::span<float> x) const;
  void write_stream(uint64_t offset, std::span<const float> x);

  /// Everything since the last call is on the disk and counts as done.
  void finish_stage();
  /// Moves the finished output into place and removes the folder.
  void commit();

  /// Removes what a run left that was killed between its two last steps.
  static void remove_leftovers(const std::string& output_path);

 private:
  std::string file(const char* name) const { return folder_ + "/" + name; }

  std::string output_path_;
  std::string folder_;
  std::string key_;
  WorkFile lock_;
  WorkFile data_;
  WorkFile streams_[2];
  int64_t stages_ = 0;
  uint64_t bytes_ = 0;
};

}  // namespace thimble
