// Small file chores of the conductor.
#include "squeeze/work_files.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"

namespace thimble {

namespace fs = std::filesystem;

std::string file_hash(const std::string& path) {
  return content_hash(MappedFile(path).bytes());
}

std::string folder_fingerprint(const std::string& folder) {
  std::error_code error;
  fs::directory_iterator entries(folder, error);
  if (error) fail(ErrorCode::io, "{}: cannot read the folder: {}", folder, error.message());
  std::vector<std::string> files;
  for (const fs::directory_entry& entry : entries) {
    if (!entry.is_regular_file(error)) continue;
    const auto time = entry.last_write_time(error).time_since_epoch().count();
    files.push_back(fmt::format("{} {} {}", entry.path().filename().string(), entry.file_size(error), time));
  }
  std::sort(files.begin(), files.end());
  return content_hash(fmt::format("{}", fmt::join(files, "\n")));
}

void publish_file(const std::string& from, const std::string& to) {
  const std::string temporary = fmt::format("{}.{}.partial", to, ::getpid());
  std::error_code error;
  fs::remove(temporary, error);
  fs::create_hard_link(from, temporary, error);
  if (error) {
    const MappedFile source(from);
    AtomicFile target(to);
    target.write(source.bytes());
    target.commit();
    return;
  }
  // rename() of two links to one file does nothing and leaves both names.
  if (fs::equivalent(temporary, to, error)) {
    fs::remove(temporary, error);
    return;
  }
  fs::rename(temporary, to, error);
  if (error) {
    const std::string reason = error.message();
    fs::remove(temporary, error);
    fail(ErrorCode::io, "{}: cannot write: {}", to, reason);
  }
}

TensorType float_type_of(const std::string& hf_folder) {
  const std::string path = (fs::path(hf_folder) / "config.json").string();
  const Json json = read_json_file(path, 16 << 20);
  const JsonObject config(json, path);
  // Newer checkpoints say "dtype"; without either, f16 is what most weights are published as.
  const std::string dtype = config.string(config.has("dtype") ? "dtype" : "torch_dtype", "float16");
  return dtype == "bfloat16" ? TensorType::bf16 : dtype == "float32" ? TensorType::f32 : TensorType::f16;
}

ModelFootprint planned_footprint(const QuantizeResult& planned, const ModelConfig& config) {
  std::vector<SizedTensor> tensors;
  for (const QuantizedTensor& t : planned.tensors) tensors.push_back({t.name, t.ne, t.to});
  return footprint(config, tensors);
}

}  // namespace thimble
