// Opens the weights of a Hugging Face folder: one file, or the shards of an index. An index comes from outside, so the
// names in it are confined to the folder.
#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/json.h"
#include "format/safetensors.h"

namespace thimble {

namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxIndexBytes = 64 << 20;  // a 1,000-layer model's is about 1 MB
constexpr size_t kMaxShards = 4096;

void check_shard_name(const std::string& name, const std::string& source) {
  const bool plain = !name.empty() && name != "." && name != ".." &&
                     name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
  if (!plain) {
    fail(ErrorCode::corrupt, "{}: shard '{}', expected a plain file name inside the folder", source,
         name.find('\0') == std::string::npos ? name : "with a zero byte");
  }
}

// A link out of the folder would let a downloaded folder name any file of this machine. The exception is the layout of
// the hub's cache, where every file of snapshots/REV is a link to ../../blobs/HASH.
void check_confined(const fs::path& folder, const fs::path& file) {
  std::error_code error;
  const fs::path home = fs::canonical(folder, error);
  const fs::path target = error ? fs::path() : fs::canonical(file, error);
  if (error) return;  // open() reports what is wrong with it
  const bool hub_cache = home.parent_path().filename() == "snapshots" &&
                         target.parent_path() == home.parent_path().parent_path() / "blobs";
  if (target.parent_path() != home && !hub_cache) {
    fail(ErrorCode::corrupt, "{}: links to {}, expected a file inside the folder", file.string(), target.string());
  }
}

}  // namespace

SafetensorsIndex SafetensorsIndex::parse(std::string_view text, const std::string& source) {
  const Json document = parse_json(text, source);
  const JsonObject root(document, source);
  const JsonObject map(root.at("weight_map"), fmt::format("{}: key 'weight_map'", source));
  SafetensorsIndex index;
  for (const auto& [tensor, shard] : map.json().items()) {
    const std::string name = map.string(tensor);
    if (std::find(index.shards.begin(), index.shards.end(), name) == index.shards.end()) {
      check_shard_name(name, source);
      if (index.shards.size() == kMaxShards) {
        fail(ErrorCode::corrupt, "{}: more than {} shards", source, kMaxShards);
      }
      index.shards.push_back(name);
    }
    index.shard_of.emplace(tensor, name);
  }
  if (index.shards.empty()) fail(ErrorCode::corrupt, "{}: key 'weight_map' is empty", source);
  return index;
}

SafetensorsFile SafetensorsFile::open_model(const std::string& folder) {
  const fs::path single = fs::path(folder) / "model.safetensors";
  const fs::path index = fs::path(folder) / "model.safetensors.index.json";
  std::error_code ignored;
  if (fs::exists(single, ignored) || fs::is_symlink(single, ignored)) {
    check_confined(folder, single);
    return open(single.string());
  }
  if (!fs::exists(index, ignored)) {
    fail(ErrorCode::not_found,
         "{}: no model.safetensors and no model.safetensors.index.json in it (pickled .bin weights are not read)",
         folder);
  }
  SafetensorsFile model;
  model.source_ = folder;
  model.add_parts_of(folder, index.string());
  model.index_tensors();
  return model;
}

void SafetensorsFile::add_parts_of(const std::string& folder, const std::string& index_path) {
  const SafetensorsIndex index = SafetensorsIndex::parse(read_file(index_path, kMaxIndexBytes), index_path);
  for (const std::string& shard : index.shards) {
    const fs::path path = fs::path(folder) / shard;
    check_confined(folder, path);
    SafetensorsFile part = open(path.string());
    for (SafetensorsTensor& tensor : part.tensors_) {
      const auto expected = index.shard_of.find(tensor.name);
      if (expected == index.shard_of.end() || expected->second != shard) {
        fail(ErrorCode::corrupt, "{}: tensor '{}' is in it, but the index has it in {}", path.string(), tensor.name,
             expected == index.shard_of.end() ? "no shard" : expected->second);
      }
      tensors_.push_back(std::move(tensor));
    }
    mappings_.push_back(part.mappings_.front());
  }
  if (tensors_.size() == index.shard_of.size()) return;
  index_tensors();
  for (const auto& [name, shard] : index.shard_of) {
    if (find(name) == nullptr) {
      fail(ErrorCode::corrupt, "{}: tensor '{}' is not in {}, where the index has it", index_path, name, shard);
    }
  }
}

}  // namespace thimble
