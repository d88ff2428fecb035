#include "convert/hf_folder.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace thimble {

namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxConfigBytes = 4 << 20;
constexpr uint64_t kMaxTokenizerConfigBytes = 64 << 20;  // added_tokens_decoder can list the whole vocabulary
constexpr uint64_t kMaxTemplateBytes = 4 << 20;

bool has_file(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// The last part of the path; a folder called "hf" is a part of a model's folder, whose name counts then.
std::string name_of(const std::string& folder) {
  std::error_code error;
  fs::path path = fs::canonical(folder, error);
  if (error) return "model";
  if (path.filename() == "hf") path = path.parent_path();
  // snapshots/REV of the hub's cache: models--ORG--NAME is two levels up.
  if (path.parent_path().filename() == "snapshots") path = path.parent_path().parent_path();
  std::string name = path.filename().string();
  if (const size_t dashes = name.rfind("--"); name.starts_with("models--")) name = name.substr(dashes + 2);
  return name.empty() ? "model" : name;
}

std::vector<HfAddedToken> read_added_tokens(const fs::path& path) {
  const Json document = read_json_file(path.string(), kMaxTokenizerConfigBytes);
  const JsonObject root(document, path.string());
  std::vector<HfAddedToken> added;
  for (const auto& [text, value] : document.items()) {
    if (text.empty()) fail(ErrorCode::corrupt, "{}: a token is empty", path.string());
    added.push_back({static_cast<int32_t>(root.integer(text, 0, INT32_MAX)), text, false});
  }
  std::sort(added.begin(), added.end(), [](const HfAddedToken& a, const HfAddedToken& b) { return a.id < b.id; });
  return added;
}

void read_tokenizer(const fs::path& folder, HfFolder& hf) {
  const fs::path model = folder / "tokenizer.model";
  const fs::path json = folder / "tokenizer.json";
  if (has_file(model)) {
    hf.tokenizer_path = model.string();
    hf.sentencepiece = SentencePieceModel::open(hf.tokenizer_path);
  } else if (has_file(json)) {
    hf.tokenizer_path = json.string();
    hf.tokenizer = HfTokenizer::open(hf.tokenizer_path);
  } else {
    fail(ErrorCode::not_found, "{}: no tokenizer.model and no tokenizer.json in it", hf.path);
  }
}

void read_tokenizer_config(const fs::path& folder, HfFolder& hf) {
  if (const fs::path path = folder / "tokenizer_config.json"; has_file(path)) {
    hf.tokenizer_config = HfTokenizerConfig::parse(read_file(path.string(), kMaxTokenizerConfigBytes), path.string());
  }
  const fs::path jinja = folder / "chat_template.jinja";
  if (hf.tokenizer_config.chat_templates.empty() && has_file(jinja)) {
    hf.tokenizer_config.chat_templates.emplace_back("", read_file(jinja.string(), kMaxTemplateBytes));
  }
}

// AutoGPTQ and AutoAWQ once kept the settings in a document of their own; many folders have it and quantization_config.
void read_quantization(const fs::path& folder, HfFolder& hf) {
  for (const auto& [name, method] :
       {std::pair("quantize_config.json", "gptq"), std::pair("quant_config.json", "awq")}) {
    const std::string path = (folder / name).string();
    if (!has_file(path)) continue;
    const auto found = HfQuantization::parse(read_json_file(path, kMaxConfigBytes), path, method);
    if (!hf.config.quantization) hf.config.quantization = found;
    const HfQuantization& stated = *hf.config.quantization;
    if (found.group_size != stated.group_size) {
      fail(ErrorCode::corrupt, "{}: key 'group_size': found {}, expected {} from config.json", path, found.group_size,
           stated.group_size);
    }
    if (found.packing != stated.packing) {
      fail(ErrorCode::corrupt, "{}: found the layout '{}', expected '{}' from config.json", path,
           hf_packing_name(found.packing), hf_packing_name(stated.packing));
    }
  }
}

// AutoGPTQ's own name is gptq_model-4bit-128g.safetensors: in a quantized folder the only weights there are will do.
SafetensorsFile open_weights(const fs::path& folder, const HfFolder& hf) {
  const bool usual = has_file(folder / "model.safetensors") || has_file(folder / "model.safetensors.index.json");
  std::vector<std::string> found;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
    if (entry.path().extension() == ".safetensors") found.push_back(entry.path().string());
  }
  if (usual || !hf.config.quantization || found.size() != 1) return SafetensorsFile::open_model(hf.path);
  return SafetensorsFile::open(found.front());
}

}  // namespace

HfFolder HfFolder::open(const std::string& path) {
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) {
    fail(ErrorCode::not_found, "{}: not a folder, expected a Hugging Face model folder with config.json", path);
  }
  const fs::path folder(path);
  HfFolder hf;
  hf.path = path;
  hf.name = name_of(path);
  const std::string config = (folder / "config.json").string();
  hf.config = HfConfig::parse(read_file(config, kMaxConfigBytes), config);
  if (const fs::path file = folder / "generation_config.json"; has_file(file)) {
    hf.generation = HfGenerationConfig::parse(read_file(file.string(), kMaxConfigBytes), file.string());
  }
  read_quantization(folder, hf);
  read_tokenizer(folder, hf);
  read_tokenizer_config(folder, hf);
  if (const fs::path file = folder / "added_tokens.json"; has_file(file)) {
    hf.added_tokens_json = read_added_tokens(file);
  }
  hf.weights = open_weights(folder, hf);
  return hf;
}

}  // namespace thimble
