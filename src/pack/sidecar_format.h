// The bytes of a sidecar: packed weights of one model for one width of panels (docs/FORMAT.md, "Packed weights").
// A header that carries a hash of itself, then the panels of each tensor at a page boundary.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "pack/model_identity.h"
#include "pack/pack_plan.h"

namespace thimble {

constexpr uint32_t kSidecarVersion = 1;
constexpr uint64_t kSidecarAlignment = 4096;  // of each tensor: pages can be advised on, and kernels want 64
constexpr uint64_t kMaxSidecarHeaderBytes = uint64_t{16} << 20;  // 16384 tensors with the longest names need 6 MB
constexpr std::string_view kSidecarSuffix = ".packed";

struct SidecarTensor {
  std::string name;
  TensorType type = TensorType::f32;
  int lanes = 0;
  uint64_t n_in = 0, n_out = 0;
  uint64_t offset = 0;  // from the start of the file
  uint64_t bytes = 0;   // whole panels
  std::string hash;     // content_hash of the panels
};

struct SidecarHeader {
  uint32_t layout_version = 0;   // kernels::kPackedLayoutVersion
  uint64_t header_bytes = 0;     // including the hash that ends it
  uint64_t file_bytes = 0;       // exact
  std::vector<FileStamp> parts;  // of the model
  std::string fingerprint;       // ModelIdentity::fingerprint
  std::string model_hash;        // model_content_hash()
  std::vector<SidecarTensor> tensors;
};

/// What the header says of its own size, or 0 when `start` ends before that. Nothing is checked.
uint64_t sidecar_header_bytes(std::span<const std::byte> start) noexcept;

/// Parses the header of the sidecar that begins with `bytes` (all of the file or at least its header). `source` names
/// it in errors. Offsets and sizes of tensors lie inside file_bytes, aligned, in ascending order; whether the file has
/// file_bytes is for the caller to see. Errors: corrupt;
/// unsupported (a version other than kSidecarVersion).
SidecarHeader parse_sidecar_header(std::span<const std::byte> bytes, const std::string& source);

/// The header for these tensors with offsets and sizes filled in; hashes are still zeros.
SidecarHeader lay_out_sidecar(std::span<const PackItem* const> items, const ModelIdentity& model);

/// The bytes of a header; parse_sidecar_header() gives it back. header_bytes and file_bytes come from lay_out_sidecar.
std::vector<std::byte> sidecar_header(const SidecarHeader& header);

}  // namespace thimble
