#include "pack/sidecar_format.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "base/error.h"
#include "base/hash.h"
#include "format/byte_reader.h"
#include "kernels/packed_layout.h"

namespace thimble {

namespace {

constexpr std::string_view kMagic = "THMBPACK";
constexpr size_t kHashChars = 32;
constexpr uint64_t kFixedBytes = 8 + 4 + 4 + 8 + 8 + 4 + 2 * kHashChars + 4 + kHashChars;
constexpr uint64_t kPartBytes = 8 + 8;
constexpr uint64_t kTensorBytes = 8 + 4 + 4 + 4 * 8 + kHashChars;  // and the name
constexpr uint32_t kMaxLanes = 64;                                 // four times the widest of today

std::string_view take_text(ByteReader& reader, size_t size, std::string_view what) {
  const std::span<const std::byte> bytes = reader.take(size, what);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The header without its hash, which is right. Nothing behind the version means anything in another version.
std::span<const std::byte> checked_header(std::span<const std::byte> bytes, const std::string& source) {
  ByteReader reader(bytes, source);
  if (reader.remaining() < kMagic.size() || take_text(reader, kMagic.size(), "magic") != kMagic) {
    fail(ErrorCode::corrupt, "{}: found no '{}' at the start of {} bytes, expected packed weights", source, kMagic,
         bytes.size());
  }
  const auto version = reader.number<uint32_t>("version");
  if (version != kSidecarVersion) {
    fail(ErrorCode::unsupported, "{}: found version {} of packed weights, expected {}", source, version,
         kSidecarVersion);
  }
  reader.number<uint32_t>("layout version");
  const auto header_bytes = reader.number<uint64_t>("header size");
  const uint64_t most = std::min<uint64_t>(bytes.size(), kMaxSidecarHeaderBytes);
  if (header_bytes < kFixedBytes || header_bytes > most) {
    fail(ErrorCode::corrupt, "{}: found a header of {} bytes, expected {} to {}", source, header_bytes, kFixedBytes,
         most);
  }
  const std::span<const std::byte> body = bytes.first(header_bytes - kHashChars);
  const std::span<const std::byte> hash = bytes.subspan(body.size(), kHashChars);
  if (content_hash(body) != std::string_view(reinterpret_cast<const char*>(hash.data()), hash.size())) {
    fail(ErrorCode::corrupt, "{}: the header does not have the hash it names", source);
  }
  return body;
}

class HeaderParser {
 public:
  HeaderParser(std::span<const std::byte> body, const std::string& source) : source_(source), reader_(body, source) {}

  SidecarHeader run() {
    reader_.take(kMagic.size() + sizeof(uint32_t), "start");
    header_.layout_version = reader_.number<uint32_t>("layout version");
    header_.header_bytes = reader_.number<uint64_t>("header size");
    header_.file_bytes = reader_.number<uint64_t>("file size");
    read_model();
    read_tensors();
    if (reader_.remaining() != 0) {
      fail(ErrorCode::corrupt, "{}: found {} bytes behind the last tensor, expected none", source_,
           reader_.remaining());
    }
    return std::move(header_);
  }

 private:
  void read_model() {
    const auto n_parts = count("parts", kPartBytes);
    for (uint32_t i = 0; i < n_parts; ++i) {
      const auto bytes = reader_.number<uint64_t>("size of a part");
      header_.parts.push_back({bytes, reader_.number<int64_t>("time of a part")});
    }
    header_.fingerprint = take_text(reader_, kHashChars, "fingerprint");
    header_.model_hash = take_text(reader_, kHashChars, "model hash");
  }

  void read_tensors() {
    const auto n_tensors = count("tensors", kTensorBytes);
    uint64_t end = header_.header_bytes;
    for (uint32_t i = 0; i < n_tensors; ++i) {
      SidecarTensor t;
      t.name = reader_.string("tensor name");
      const auto type = reader_.number<uint32_t>(t.name);
      const auto lanes = reader_.number<uint32_t>(t.name);
      t.n_in = reader_.number<uint64_t>(t.name);
      t.n_out = reader_.number<uint64_t>(t.name);
      t.offset = reader_.number<uint64_t>(t.name);
      t.bytes = reader_.number<uint64_t>(t.name);
      t.hash = take_text(reader_, kHashChars, t.name);
      const TypeTraits* found = find_type(type);
      if (found == nullptr || !kernels::can_pack(found->type) || lanes < 1 || lanes > kMaxLanes) {
        fail(ErrorCode::corrupt, "{}: tensor '{}': found type {} in panels of {} rows", source_, printable(t.name),
             type, lanes);
      }
      t.type = found->type;
      t.lanes = static_cast<int>(lanes);
      end = check_place(t, end);
      header_.tensors.push_back(std::move(t));
    }
    if (end != header_.file_bytes) {
      fail(ErrorCode::corrupt, "{}: found tensors up to byte {} of {}", source_, end, header_.file_bytes);
    }
  }

  // Gives the end of the tensor, padding included.
  uint64_t check_place(const SidecarTensor& t, uint64_t end_before) const {
    const auto row = row_bytes(t.type, t.n_in);
    const auto rows = checked_align(t.n_out, static_cast<uint64_t>(t.lanes));
    const auto bytes = row && rows ? checked_mul(*row, *rows) : std::nullopt;
    const auto begin = checked_align(end_before, kSidecarAlignment);
    const auto last = begin && bytes ? checked_add(*begin, *bytes) : std::nullopt;
    const auto end = last ? checked_align(*last, kSidecarAlignment) : std::nullopt;
    if (!end || t.n_in == 0 || t.n_out == 0 || t.bytes != *bytes || t.offset != *begin || *end > header_.file_bytes) {
      fail(ErrorCode::corrupt, "{}: tensor '{}': found {} bytes at offset {} for {} rows of {} elements of {} bytes",
           source_, printable(t.name), t.bytes, t.offset, t.n_out, t.n_in, header_.file_bytes);
    }
    return *end;
  }

  uint32_t count(std::string_view what, uint64_t min_bytes_each) {
    const auto n = reader_.number<uint32_t>(what);
    if (n > reader_.remaining() / min_bytes_each) {
      fail(ErrorCode::corrupt, "{}: found {} {}, expected at most {} in the {} bytes left", source_, n, what,
           reader_.remaining() / min_bytes_each, reader_.remaining());
    }
    return n;
  }

  const std::string& source_;
  ByteReader reader_;
  SidecarHeader header_;
};

class ByteWriter {
 public:
  template <typename T>
  void number(T value) {
    append(std::as_bytes(std::span(&value, 1)));
  }
  void text(std::string_view text) { append(std::as_bytes(std::span(text))); }
  std::vector<std::byte> take() && { return std::move(bytes_); }
  std::span<const std::byte> bytes() const noexcept { return bytes_; }

 private:
  void append(std::span<const std::byte> more) { bytes_.insert(bytes_.end(), more.begin(), more.end()); }
  std::vector<std::byte> bytes_;
};

}  // namespace

uint64_t sidecar_header_bytes(std::span<const std::byte> start) noexcept {
  constexpr size_t kAt = 16;
  uint64_t bytes = 0;
  if (start.size() >= kAt + sizeof(bytes)) std::memcpy(&bytes, start.data() + kAt, sizeof(bytes));
  return bytes;
}

SidecarHeader parse_sidecar_header(std::span<const std::byte> bytes, const std::string& source) {
  return HeaderParser(checked_header(bytes, source), source).run();
}

std::vector<std::byte> sidecar_header(const SidecarHeader& header) {
  ByteWriter out;
  out.text(kMagic);
  out.number(kSidecarVersion);
  out.number(header.layout_version);
  out.number(header.header_bytes);
  out.number(header.file_bytes);
  out.number(static_cast<uint32_t>(header.parts.size()));
  for (const FileStamp& part : header.parts) {
    out.number(part.bytes);
    out.number(part.mtime_ns);
  }
  out.text(header.fingerprint);
  out.text(header.model_hash);
  out.number(static_cast<uint32_t>(header.tensors.size()));
  for (const SidecarTensor& t : header.tensors) {
    out.number(uint64_t{t.name.size()});
    out.text(t.name);
    out.number(static_cast<uint32_t>(t.type));
    out.number(static_cast<uint32_t>(t.lanes));
    for (const uint64_t value : {t.n_in, t.n_out, t.offset, t.bytes}) out.number(value);
    out.text(t.hash);
  }
  out.text(content_hash(out.bytes()));
  return std::move(out).take();
}

SidecarHeader lay_out_sidecar(std::span<const PackItem* const> items, const ModelIdentity& model) {
  const std::string no_hash(kHashChars, '0');
  SidecarHeader header;
  header.layout_version = kernels::kPackedLayoutVersion;
  header.parts = model.parts;
  header.fingerprint = model.fingerprint;
  header.model_hash = no_hash;
  for (const PackItem* item : items) {
    header.tensors.push_back({item->name, item->view.type, item->lanes, static_cast<uint64_t>(item->view.n_cols()),
                              static_cast<uint64_t>(item->view.n_rows()), 0, item->bytes(), no_hash});
  }
  header.header_bytes = sidecar_header(header).size();
  // The sizes are those of tensors in memory, which are at most doubled: nothing here can overflow.
  const auto aligned = [](uint64_t n) { return checked_align(n, kSidecarAlignment).value_or(n); };
  header.file_bytes = aligned(header.header_bytes);
  for (SidecarTensor& t : header.tensors) {
    t.offset = header.file_bytes;
    header.file_bytes = aligned(t.offset + t.bytes);
  }
  if (header.tensors.empty()) header.file_bytes = header.header_bytes;
  return header;
}

}  // namespace thimble
