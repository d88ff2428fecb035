// Writing a sidecar: one pass over the model that packs, hashes and writes each few megabytes while they are in cache.
#include <algorithm>
#include <array>
#include <filesystem>
#include <unordered_map>

#include "base/aligned_buffer.h"
#include "base/error.h"
#include "base/hash.h"
#include "pack/sidecar.h"

namespace thimble {

namespace {

namespace fs = std::filesystem;

// One write call, at a multiple of its size: Linux then keeps the file in huge pages of the page cache (large folios of
// ext4, xfs and btrfs), which the mapping inherits. Measured: 151 of 630 MB in huge pages with writes of about 1 MB
// anywhere, all of it with these, and a sixth more decode speed.
constexpr size_t kWriteBytes = size_t{4} << 20;

// A disk that fills up would fail other programs too, before it fails us.
void check_space(const std::string& path, uint64_t needed) {
  constexpr uint64_t kReserve = uint64_t{64} << 20;
  const fs::path folder = fs::path(path).parent_path();
  std::error_code error;
  const fs::space_info space = fs::space(folder.empty() ? "." : folder, error);
  if (error || space.available >= needed + kReserve) return;
  fail(ErrorCode::resource_exhausted, "{}: needs {} bytes and leaves {} free, the disk has {}", path, needed, kReserve,
       space.available);
}

class SidecarWriter {
 public:
  SidecarWriter(const std::string& path, const GgufFile& gguf, ThreadPool& pool, const Task& task)
      : gguf_(gguf), pool_(pool), task_(task), file_(path) {
    model_hasher_.update(header_hash(gguf));
  }

  void run(SidecarHeader& header, const std::unordered_map<std::string_view, const PackItem*>& items) {
    pad_to((header.header_bytes + kSidecarAlignment - 1) / kSidecarAlignment * kSidecarAlignment);
    auto next = header.tensors.begin();
    for (const GgufTensor& tensor : gguf_.tensors()) {
      const auto item = items.find(tensor.name);
      if (item == items.end()) {
        read(tensor.view.data);
        continue;
      }
      pad_to(next->offset);
      next->hash = pack(*item->second);
      ++next;
    }
    pad_to(header.file_bytes);
    flush();
    header.model_hash = model_hasher_.hash();
    file_.write_at(0, sidecar_header(header));
  }

  void commit() { file_.commit(); }

 private:
  // Gives the hash of the panels.
  std::string pack(const PackItem& item) {
    ContentHasher hasher;
    for_each_chunk(item, [&](const PanelChunk& chunk) {
      report();
      if (buffer_.size() < chunk.packed_bytes) buffer_ = AlignedBuffer<std::byte>(chunk.packed_bytes);
      const std::span<const std::byte> packed(buffer_.data(), chunk.packed_bytes);
      pack_panels(item, chunk.begin, chunk.end, buffer_.data(), pool_);
      hasher.update(packed);
      put(packed);
      consumed(chunk.source);
    });
    return hasher.hash();
  }

  // Not packed, but part of the model's hash.
  void read(std::span<const std::byte> data) {
    while (!data.empty()) {
      report();
      const std::span<const std::byte> piece = data.first(std::min(kReadBytes, data.size()));
      consumed(piece);
      data = data.subspan(piece.size());
    }
  }

  void consumed(std::span<const std::byte> source) {
    model_hasher_.update(source);
    gguf_.release(source);
    done_ += source.size();
  }

  void report() const {
    task_.check("packing weights");
    task_.report(done_, gguf_.file_bytes(), "packing weights");
  }

  void pad_to(uint64_t offset) {
    static constexpr std::array<std::byte, kSidecarAlignment> kZeros = {};
    while (file_.size() + n_waiting_ < offset) {
      put(std::span(kZeros).first(std::min<uint64_t>(kZeros.size(), offset - file_.size() - n_waiting_)));
    }
  }

  void put(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const size_t n = std::min(bytes.size(), kWriteBytes - n_waiting_);
      std::copy_n(bytes.begin(), n, waiting_.data() + n_waiting_);
      n_waiting_ += n;
      bytes = bytes.subspan(n);
      if (n_waiting_ == kWriteBytes) flush();
    }
  }

  void flush() {
    file_.write(std::span<const std::byte>(waiting_.data(), n_waiting_));
    n_waiting_ = 0;
  }

  const GgufFile& gguf_;
  ThreadPool& pool_;
  const Task& task_;
  AtomicFile file_;
  ContentHasher model_hasher_;
  AlignedBuffer<std::byte> buffer_;
  AlignedBuffer<std::byte> waiting_{kWriteBytes};  // bytes behind file_.size() that fill a write call
  size_t n_waiting_ = 0;
  uint64_t done_ = 0;
};

}  // namespace

void create_sidecar_folder(const std::string& path) {
  const fs::path folder = fs::path(path).parent_path();
  std::error_code error;
  if (!folder.empty()) fs::create_directories(folder, error);
  if (error) fail(ErrorCode::io, "{}: cannot create the folder: {}", folder.string(), error.message());
}

void write_sidecar(const std::string& path, const GgufFile& gguf, const ModelIdentity& model, const PackPlan& plan,
                   ThreadPool& pool, const Task& task) {
  std::unordered_map<std::string_view, const PackItem*> by_name;
  for (const PackItem& item : plan.items) by_name.emplace(item.name, &item);
  std::vector<const PackItem*> items;  // in the order of the file, so that it is read front to back
  for (const GgufTensor& tensor : gguf.tensors()) {
    if (const auto found = by_name.find(tensor.name); found != by_name.end()) items.push_back(found->second);
  }
  SidecarHeader header = lay_out_sidecar(items, model);
  const std::string folder = fs::path(path).parent_path().string();
  remove_stale_temporaries(folder.empty() ? "." : folder, kSidecarSuffix);
  check_space(path, header.file_bytes);
  SidecarWriter writer(path, gguf, pool, task);
  writer.run(header, by_name);
  for (size_t i = 0; i < model.parts.size(); ++i) {
    if (file_stamp(gguf.paths()[i]) == model.parts[i]) continue;
    fail(ErrorCode::io, "{}: changed while it was being packed", gguf.paths()[i]);
  }
  writer.commit();
}

}  // namespace thimble
