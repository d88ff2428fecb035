// Names of sidecars, and every reason not to use one.
#include <algorithm>
#include <filesystem>
#include <unordered_map>

#include "base/error.h"
#include "base/hash.h"
#include "format/byte_reader.h"
#include "kernels/packed_layout.h"
#include "pack/sidecar.h"

namespace thimble {

namespace {

namespace fs = std::filesystem;

std::string ending(int lanes) {
  return fmt::format(".rows{}{}", lanes, kSidecarSuffix);
}

// Why the sidecar does not fit the model and the kernels, or "".
std::string mismatch(const SidecarHeader& header, const ModelIdentity& model, const PackPlan& plan) {
  if (header.layout_version != kernels::kPackedLayoutVersion) {
    return fmt::format("found layout version {}, expected {}", header.layout_version, kernels::kPackedLayoutVersion);
  }
  const bool same_sizes = std::equal(header.parts.begin(), header.parts.end(), model.parts.begin(), model.parts.end(),
                                     [](const FileStamp& a, const FileStamp& b) { return a.bytes == b.bytes; });
  if (!same_sizes || header.fingerprint != model.fingerprint) return "made from another model";
  std::unordered_map<std::string_view, const SidecarTensor*> by_name;
  for (const SidecarTensor& t : header.tensors) by_name.emplace(t.name, &t);
  for (const PackItem& item : plan.items) {
    const auto found = by_name.find(item.name);
    if (found == by_name.end()) return fmt::format("tensor '{}' is missing", printable(item.name));
    const SidecarTensor& t = *found->second;
    if (t.lanes != item.lanes) {
      return fmt::format("tensor '{}': found panels of {} rows, expected {}", printable(item.name), t.lanes,
                         item.lanes);
    }
    if (t.type != item.view.type || t.n_in != static_cast<uint64_t>(item.view.n_cols()) ||
        t.n_out != static_cast<uint64_t>(item.view.n_rows())) {
      return fmt::format("tensor '{}': found {} x {} {}, expected {} x {} {}", printable(item.name), t.n_in, t.n_out,
                         traits(t.type).name, item.view.n_cols(), item.view.n_rows(), traits(item.view.type).name);
    }
  }
  return "";
}

void refuse(SidecarCheck& check, ErrorCode code, std::string reason) {
  check.state = code == ErrorCode::not_found ? SidecarState::missing : SidecarState::unusable;
  check.code = code;
  check.reason = std::move(reason);
  check.file = MappedFile();
  check.header = {};
}

}  // namespace

std::string sidecar_beside(const std::string& model_path, int lanes) {
  return model_path + ending(lanes);
}

std::string sidecar_in(const std::string& folder, const std::string& model_path, const ModelIdentity& model,
                       int lanes) {
  // Half of the hash: names are for people too, and what counts is in the header.
  const std::string stem = fs::path(model_path).stem().string();
  return (fs::path(folder) / fmt::format("{}-{}{}", stem, model.fingerprint.substr(0, 16), ending(lanes))).string();
}

SidecarCheck check_sidecar(const std::string& path, const ModelIdentity& model, const PackPlan& plan) {
  SidecarCheck check;
  try {
    check.file = MappedFile(path);
    // A copy: another process may be recording a new time in the header while it is read.
    const std::span<const std::byte> mapped = check.file.bytes();
    const std::span<const std::byte> start = mapped.first(std::min<size_t>(mapped.size(), kMaxSidecarHeaderBytes));
    const auto length = std::min<size_t>(start.size(), kSidecarAlignment);
    std::vector<std::byte> copy(start.begin(), start.begin() + static_cast<ptrdiff_t>(length));
    if (const uint64_t wanted = sidecar_header_bytes(copy); wanted > length && wanted <= start.size()) {
      copy.assign(start.begin(), start.begin() + static_cast<ptrdiff_t>(wanted));
    }
    check.header = parse_sidecar_header(copy, path);
    if (check.header.file_bytes != mapped.size()) {
      fail(ErrorCode::corrupt, "{}: found {} bytes, expected {}", path, mapped.size(), check.header.file_bytes);
    }
  } catch (const Error& e) {
    refuse(check, e.code(), e.what());
    return check;
  }
  if (const std::string why = mismatch(check.header, model, plan); !why.empty()) {
    refuse(check, ErrorCode::invalid_argument, fmt::format("{}: {}", path, why));
    return check;
  }
  check.state = SidecarState::valid;
  if (check.header.parts != model.parts) {
    check.state = SidecarState::touched;
    check.code = ErrorCode::invalid_argument;
    check.reason = fmt::format("{}: the model file has another time than when it was packed", path);
  }
  return check;
}

void settle_touched(SidecarCheck& check, const GgufFile& gguf, const ModelIdentity& model, const Task& task) {
  if (check.state != SidecarState::touched) return;
  const std::string path = check.file.path();
  task.say(LogLevel::info, "{}: comparing contents", check.reason);
  if (model_content_hash(gguf, task) != check.header.model_hash) {
    refuse(check, ErrorCode::invalid_argument, fmt::format("{}: made from another model", path));
    return;
  }
  const std::vector<std::byte> before = sidecar_header(check.header);
  check.header.parts = model.parts;
  check.state = SidecarState::valid;
  check.reason.clear();
  try {
    // In place, which a crash may tear: the header then no longer has its hash and the file is packed again. A copy of
    // some gigabytes would be atomic and take longer than packing.
    if (!replace_start(path, before, sidecar_header(check.header))) {
      task.say(LogLevel::info, "{}: replaced meanwhile", path);
    }
  } catch (const Error& e) {
    task.say(LogLevel::warning, "{}; the model's content is compared again at the next start", e.what());
  }
}

void verify_panels(const SidecarCheck& check, const Task& task) {
  for (const SidecarTensor& t : check.header.tensors) {
    ContentHasher hasher;
    for (std::span<const std::byte> rest = check.file.bytes().subspan(t.offset, t.bytes); !rest.empty();) {
      task.check("verifying packed weights");
      task.report(t.offset + (t.bytes - rest.size()), check.header.file_bytes, "verifying packed weights");
      const size_t n = std::min(kReadBytes, rest.size());
      hasher.update(rest.first(n));
      rest = rest.subspan(n);
    }
    if (hasher.hash() != t.hash) {
      fail(ErrorCode::corrupt, "{}: tensor '{}': the packed weights do not have the hash recorded for them",
           check.file.path(), printable(t.name));
    }
  }
}

}  // namespace thimble
