// What stock llama.cpp v0.5.0 refuses, as far as keys, names, types and layout tell. It does not replace loading the
// file there: hyperparameters and vocabulary contents are not followed.
#include <algorithm>
#include <array>
#include <string_view>

#include "base/checked.h"
#include "base/error.h"
#include "format/byte_reader.h"
#include "format/gguf_summary.h"

namespace thimble {

namespace {

constexpr size_t kStockMaxNameBytes = 63;  // GGML_MAX_NAME - 1
constexpr size_t kMaxObstacles = 16;       // a reader wants the reasons, not a thousand tensors of one kind

// Architectures of llama.cpp v0.5.0 (LLM_ARCH_NAMES in src/llama-arch.cpp), separated by blanks.
constexpr std::string_view kStockArchitectures =
    " llama llama4 deci falcon grok gpt2 gptj gptneox mpt baichuan starcoder refact bert modern-bert nomic-bert "
    "nomic-bert-moe neo-bert jina-bert-v2 jina-bert-v3 eurobert bloom stablelm qwen qwen2 qwen2moe qwen2vl qwen3 "
    "qwen3moe "
    "qwen3next qwen3vl qwen3vlmoe qwen35 qwen35moe qwen4exp phi2 phi3 phimoe plamo plamo2 plamo3 codeshell orion "
    "internlm2 minicpm minicpm3 gemma gemma2 gemma3 gemma3n gemma4 gemma4-assistant gemma-embedding starcoder2 mamba "
    "mamba2 maple jamba falcon-h1 xverse command-r cohere2 cohere2moe dbrx olmo olmo2 olmoe muse-glimmer openelm "
    "arctic "
    "deepseek deepseek2 deepseek2-ocr deepseek32 deepseek4 chatglm glm4 glm4moe glm-dsa bitnet t5 t5encoder jais jais2 "
    "nemotron nemotron_h nemotron_h_moe exaone exaone4 exaone-moe rwkv6 rwkv6qwen2 rwkv7 arwkv7 granite granitemoe "
    "granitehybrid graniteswitch granite_swa chameleon wavtokenizer-dec plm bailingmoe bailingmoe2 bailingmoe3 dots1 "
    "dots3note arcee afmoe laguna ernie4_5 ernie4_5-moe hunyuan-moe hunyuan-dense hunyuan_vl hy_v3 hy_v4 smollm3 "
    "gpt-oss "
    "lfm2 lfm2moe dream smallthinker llada llada-moe seed_oss grovemoe apertus minimax-01 hrm_text minimax-m2 "
    "minimax-m3 "
    "cogvlm rnd1 pangu-embedded mistral3 eagle3 dflash mistral4 paddleocr mimo2 step35 spark2_5 llama-embed maincoder "
    "kimi-linear kimi-k3 talkie mellum ";

// Tensors that the stock loaders of llama and qwen2 ask for (src/models/llama.cpp, qwen2.cpp); any other name ends
// loading with "wrong number of tensors".
constexpr std::string_view kModelTensors =
    " token_embd output_norm output rope_freqs rope_factors_long rope_factors_short ";
constexpr std::string_view kBlockTensors =
    " attn_norm attn_q attn_k attn_v attn_qkv attn_output attn_rot_embd ffn_norm ffn_gate ffn_up ffn_down ffn_gate_inp "
    "ffn_gate_exps ffn_up_exps ffn_down_exps ffn_gate_shexp ffn_up_shexp ffn_down_shexp ";

// True when the blank-separated `list` holds `word`.
bool lists(std::string_view list, std::string_view word) noexcept {
  if (word.empty() || word.find(' ') != word.npos) return false;
  for (size_t at = list.find(word); at != list.npos; at = list.find(word, at + 1)) {
    if (list[at - 1] == ' ' && list[at + word.size()] == ' ') return true;
  }
  return false;
}

// True when stock llama and qwen2 loaders know a tensor of this name: base.weight, blk.N.base.bias and so on.
bool is_stock_tensor(std::string_view name) noexcept {
  const size_t dot = name.rfind('.');
  if (dot == name.npos) return false;
  const std::string_view suffix = name.substr(dot + 1);
  if (!lists(" weight bias scale input_scale ", suffix)) return false;
  std::string_view base = name.substr(0, dot);
  if (!base.starts_with("blk.")) return lists(kModelTensors, base);
  base.remove_prefix(4);
  const size_t digits = base.find_first_not_of("0123456789");
  return digits != 0 && digits != base.npos && base[digits] == '.' && lists(kBlockTensors, base.substr(digits + 1));
}

// The string value of a key, or nothing when it is missing or no string.
std::string_view text_value(const GgufFile& file, std::string_view key) noexcept {
  const GgufKeyValue* kv = file.find(key);
  const auto* text = kv == nullptr ? nullptr : std::get_if<std::string_view>(&kv->value);
  return text == nullptr ? std::string_view() : *text;
}

class Obstacles {
 public:
  template <typename... Args>
  void add(fmt::format_string<Args...> format, Args&&... args) {
    if (reasons_.size() < kMaxObstacles) reasons_.push_back(fmt::format(format, std::forward<Args>(args)...));
  }
  std::vector<std::string> take() { return std::move(reasons_); }

 private:
  std::vector<std::string> reasons_;
};

void check_keys(const GgufFile& file, Obstacles* obstacles) {
  const std::string_view architecture = text_value(file, "general.architecture");
  if (architecture.empty()) {
    obstacles->add("key 'general.architecture' is missing");
  } else if (!lists(kStockArchitectures, architecture)) {
    obstacles->add("architecture '{}' is not known to it", printable(architecture));
  }
  if (!architecture.empty() && !file.tensors().empty()) {
    for (const char* suffix : {"context_length", "embedding_length", "block_count"}) {
      const std::string key = fmt::format("{}.{}", architecture, suffix);
      if (file.find(key) == nullptr) obstacles->add("key '{}' is missing", printable(key));
    }
  }
  if (text_value(file, "tokenizer.ggml.model").empty()) obstacles->add("key 'tokenizer.ggml.model' is missing");
  for (const GgufKeyValue& kv : file.metadata()) {
    // docs/FORMAT.md: every other key of ours changes how the file has to be read.
    if (kv.key == "thimble.import" || kv.key.starts_with("thimble.import.")) continue;
    if (kv.key.starts_with("thimble.") && !lists(" thimble.version thimble.scheme thimble.recipe ", kv.key)) {
      obstacles->add("key '{}' changes how the weights are read", printable(kv.key));
    }
  }
}

void check_layout(const GgufFile& file, Obstacles* obstacles) {
  // Stock llama.cpp wants tensor data in the order of the descriptions, without gaps. Parts of a split set lie in
  // mappings of their own and are not followed.
  const bool is_split = file.find("split.count") != nullptr;
  for (size_t i = 1; i < file.tensors().size() && !is_split; ++i) {
    const std::span<const std::byte> before = file.tensors()[i - 1].view.data;
    const auto padded = checked_align(before.size(), file.alignment());
    if (padded && before.data() + *padded != file.tensors()[i].view.data.data()) {
      obstacles->add("tensor '{}' does not follow '{}' directly", printable(file.tensors()[i].name),
                     printable(file.tensors()[i - 1].name));
      return;
    }
  }
}

void check_tensors(const GgufFile& file, Obstacles* obstacles) {
  const std::string_view architecture = text_value(file, "general.architecture");
  const bool knows_names = architecture == "llama" || architecture == "qwen2";
  for (const GgufTensor& tensor : file.tensors()) {
    if (traits(tensor.view.type).is_own()) {
      obstacles->add("tensor '{}' has Thimble's own type {}", printable(tensor.name), traits(tensor.view.type).name);
    }
    if (tensor.name.size() > kStockMaxNameBytes) {
      obstacles->add("tensor name '{}' is longer than {} bytes", printable(tensor.name), kStockMaxNameBytes);
    }
    const bool is_outlier = tensor.name.ends_with(".outlier") || tensor.name.ends_with(".outlier_index");
    if (is_outlier || (knows_names && !is_stock_tensor(tensor.name))) {
      obstacles->add("tensor '{}' is not known to it", printable(tensor.name));
    }
  }
  for (const char* name : {"token_embd.weight", "output_norm.weight"}) {
    if (knows_names && !file.tensors().empty() && file.find_tensor(name) == nullptr) {
      obstacles->add("tensor '{}' is missing", name);
    }
  }
  if (file.tensors().empty()) obstacles->add("the file holds no tensors: it loads as a vocabulary only");
}

}  // namespace

std::vector<std::string> stock_obstacles(const GgufFile& file) {
  Obstacles obstacles;
  check_keys(file, &obstacles);
  check_tensors(file, &obstacles);
  check_layout(file, &obstacles);
  return obstacles.take();
}

}  // namespace thimble
