#include "format/hf_tokenizer.h"

#include <algorithm>
#include <charconv>
#include <unordered_map>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "format/hf_pre_tokenizer.h"

namespace thimble {

namespace {

constexpr uint64_t kMaxTokenizerBytes = 256 << 20;  // Gemma's, the longest known, has 33 MB
constexpr int64_t kMaxTokens = 1 << 22;

void parse_vocab(const JsonObject& model, HfTokenizer& tokenizer) {
  const JsonObject vocab(model.at("vocab"), model.source() + ": key 'vocab'");
  if (vocab.json().empty()) fail(ErrorCode::corrupt, "{}: no tokens in it", vocab.source());
  for (const auto& [text, value] : vocab.json().items()) {
    const bool is_id = value.is_number_unsigned() && value.get<uint64_t>() < static_cast<uint64_t>(kMaxTokens);
    if (!is_id) {
      fail(ErrorCode::corrupt, "{}: token '{}': found {}, expected an id below {}", vocab.source(), text,
           describe_json(value), kMaxTokens);
    }
    const auto id = value.get<size_t>();
    if (text.empty()) fail(ErrorCode::corrupt, "{}: token {} is empty", vocab.source(), id);
    if (id >= tokenizer.tokens.size()) tokenizer.tokens.resize(id + 1);
    if (!tokenizer.tokens[id].empty()) {
      fail(ErrorCode::corrupt, "{}: id {} is given twice, to '{}' and '{}'", vocab.source(), id, tokenizer.tokens[id],
           text);
    }
    tokenizer.tokens[id] = text;
  }
}

// "a b" (to 2024) or ["a", "b"] (tokenizers 0.20 on).
std::pair<std::string, std::string> parse_merge(const Json& value, size_t index, const std::string& source) {
  if (value.is_array() && value.size() == 2 && value[0].is_string() && value[1].is_string()) {
    return {value[0].get<std::string>(), value[1].get<std::string>()};
  }
  if (value.is_string()) {
    const std::string& text = value.get_ref<const std::string&>();
    const size_t space = text.find(' ');
    if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos) {
      return {text.substr(0, space), text.substr(space + 1)};
    }
  }
  fail(ErrorCode::corrupt, "{}: merge {}: found {}, expected two tokens", source, index, describe_json(value));
}

void parse_merges(const JsonObject& model, HfTokenizer& tokenizer) {
  const Json& list = model.at("merges");
  if (!list.is_array()) {
    fail(ErrorCode::corrupt, "{}: key 'merges': found {}, expected an array", model.source(), describe_json(list));
  }
  tokenizer.merges.reserve(list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    tokenizer.merges.push_back(parse_merge(list[i], i, model.source()));
    const auto& [left, right] = tokenizer.merges.back();
    // GGUF stores a merge as "left right": a space inside a half could not be told from the one between them.
    if (left.empty() || right.empty() || (left + right).find(' ') != std::string::npos) {
      fail(ErrorCode::corrupt, "{}: merge {}: found '{}' and '{}', expected two tokens without spaces", model.source(),
           i, left, right);
    }
  }
}

HfAddedToken parse_added(const JsonObject& entry, int64_t id) {
  HfAddedToken token;
  token.id = static_cast<int32_t>(id);
  token.text = entry.string("content");
  token.special = entry.boolean("special", false);
  if (token.text.empty()) fail(ErrorCode::corrupt, "{}: token {} is empty", entry.source(), id);
  return token;
}

void sort_added(std::vector<HfAddedToken>& added, const std::string& source) {
  std::stable_sort(added.begin(), added.end(),
                   [](const HfAddedToken& a, const HfAddedToken& b) { return a.id < b.id; });
  for (size_t i = 1; i < added.size(); ++i) {
    if (added[i].id == added[i - 1].id) {
      fail(ErrorCode::corrupt, "{}: id {} is given twice, to '{}' and '{}'", source, added[i].id, added[i - 1].text,
           added[i].text);
    }
  }
}

void parse_added_tokens(const JsonObject& root, HfTokenizer& tokenizer) {
  if (!root.has("added_tokens")) return;
  const std::string where = root.source() + ": key 'added_tokens'";
  const Json& list = root.at("added_tokens");
  if (!list.is_array()) fail(ErrorCode::corrupt, "{}: found {}, expected an array", where, describe_json(list));
  for (const Json& value : list) {
    const JsonObject entry(value, where);
    tokenizer.added.push_back(parse_added(entry, entry.integer("id", 0, kMaxTokens - 1)));
  }
  sort_added(tokenizer.added, where);
}

// The vocabulary proper has no holes, added tokens may fill some (Llama 2 lists <unk>, <s> and </s> in both).
void check_ids(const HfTokenizer& tokenizer, const std::string& source) {
  std::unordered_map<std::string_view, size_t> id_of;
  for (size_t id = 0; id < tokenizer.tokens.size(); ++id) id_of.emplace(tokenizer.tokens[id], id);
  std::vector<bool> added(tokenizer.tokens.size(), false);
  for (const HfAddedToken& token : tokenizer.added) {
    const auto id = static_cast<size_t>(token.id);
    const auto base = id_of.find(token.text);
    const bool taken =
        id < tokenizer.tokens.size() && !tokenizer.tokens[id].empty() && tokenizer.tokens[id] != token.text;
    if (taken || (base != id_of.end() && base->second != id)) {
      fail(ErrorCode::corrupt, "{}: added token {} '{}' contradicts the vocabulary, which has {} there", source, id,
           token.text, taken ? fmt::format("'{}'", tokenizer.tokens[id]) : fmt::format("it as {}, not", base->second));
    }
    if (id < added.size()) added[id] = true;
  }
  for (size_t id = 0; id < tokenizer.tokens.size(); ++id) {
    if (tokenizer.tokens[id].empty() && !added[id]) {
      fail(ErrorCode::corrupt, "{}: key 'vocab': id {} is missing, expected all ids up to {}", source, id,
           tokenizer.tokens.size() - 1);
    }
  }
}

std::optional<std::string> special_token_id(const Json& step) {
  if (!step.is_object() || !step.contains("SpecialToken")) return std::nullopt;
  const Json& token = step["SpecialToken"];
  if (!token.is_object() || !token.contains("id") || !token["id"].is_string()) return std::nullopt;
  return token["id"].get<std::string>();
}

// TemplateProcessing, alone or inside a Sequence: which special tokens surround one text.
void parse_post_processor(const Json& processor, HfTokenizer& tokenizer) {
  if (!processor.is_object() || !processor.contains("type") || !processor["type"].is_string()) return;
  const std::string& type = processor["type"].get_ref<const std::string&>();
  if (type == "Sequence" && processor.contains("processors") && processor["processors"].is_array()) {
    for (const Json& inner : processor["processors"]) parse_post_processor(inner, tokenizer);
  }
  if (type != "TemplateProcessing" || !processor.contains("single") || !processor["single"].is_array()) return;
  const Json& single = processor["single"];
  tokenizer.has_template = true;
  if (single.size() < 2) return;
  tokenizer.template_first = special_token_id(single.front());
  tokenizer.template_last = special_token_id(single.back());
}

// True when a space is put before the text: a Prepend normalizer (Llama 2) or a Metaspace pre-tokenizer (newer files).
bool adds_space_prefix(const Json& step) {
  if (!step.is_object() || !step.contains("type") || !step["type"].is_string()) return false;
  const std::string& type = step["type"].get_ref<const std::string&>();
  if (type == "Prepend") return true;
  if (type == "Metaspace") {
    if (step.contains("prepend_scheme")) return step["prepend_scheme"] != "never";
    return !step.contains("add_prefix_space") || step["add_prefix_space"] != false;
  }
  for (const std::string_view key : {"normalizers", "pretokenizers"}) {
    const auto list = step.find(std::string(key));
    if (type != "Sequence" || list == step.end() || !list->is_array()) continue;
    if (std::any_of(list->begin(), list->end(), adds_space_prefix)) return true;
  }
  return false;
}

void parse_style(const JsonObject& root, const JsonObject& model, HfTokenizer& tokenizer) {
  const Json null;
  const Json& normalizer = root.has("normalizer") ? root.at("normalizer") : null;
  const Json& pre_tokenizer = root.has("pre_tokenizer") ? root.at("pre_tokenizer") : null;
  if (model.boolean("byte_fallback", false)) {
    tokenizer.style = HfTokenizer::Style::sentencepiece;
    tokenizer.pre_tokenizer = "default";
    tokenizer.add_space_prefix = adds_space_prefix(normalizer) || adds_space_prefix(pre_tokenizer);
    return;
  }
  PreTokenizerContext context;
  context.normalizer = &normalizer;
  context.ignores_merges = model.boolean("ignore_merges", true);
  context.has_fim_tokens = tokenizer.find("<fim_prefix>").has_value();
  tokenizer.pre_tokenizer = recognise_pre_tokenizer(pre_tokenizer, context, root.source());
}

std::optional<std::string> optional_string(const JsonObject& object, std::string_view key) {
  if (!object.has(key)) return std::nullopt;
  return object.string(key);
}

std::optional<bool> optional_bool(const JsonObject& object, std::string_view key) {
  if (!object.has(key)) return std::nullopt;
  return object.boolean(key, false);
}

// A special token: its text, or an object with the text as "content".
std::optional<std::string> token_text(const JsonObject& root, std::string_view key) {
  if (!root.has(key)) return std::nullopt;
  if (!root.at(key).is_object()) return root.string(key);
  return JsonObject(root.at(key), fmt::format("{}: key '{}'", root.source(), key)).string("content");
}

void parse_chat_templates(const JsonObject& root, HfTokenizerConfig& config) {
  if (!root.has("chat_template")) return;
  const Json& value = root.at("chat_template");
  if (!value.is_array()) {
    config.chat_templates.emplace_back("", root.string("chat_template"));
    return;
  }
  for (const Json& element : value) {
    const JsonObject entry(element, root.source() + ": key 'chat_template'");
    const std::string name = entry.string("name");
    config.chat_templates.emplace_back(name == "default" ? "" : name, entry.string("template"));
  }
}

}  // namespace

HfTokenizer HfTokenizer::parse(std::string_view text, const std::string& source) {
  const Json document = parse_json(text, source);
  const JsonObject root(document, source);
  const JsonObject model(root.at("model"), source + ": key 'model'");
  // Files of before 2021 do not say; they are BPE when they have merges.
  const std::string type = model.string("type", model.has("merges") ? "BPE" : "unnamed");
  if (type != "BPE") fail(ErrorCode::unsupported, "{}: tokenizer model '{}', expected 'BPE'", source, type);
  HfTokenizer tokenizer;
  parse_vocab(model, tokenizer);
  parse_merges(model, tokenizer);
  parse_added_tokens(root, tokenizer);
  check_ids(tokenizer, source);
  tokenizer.unk_token = optional_string(model, "unk_token");
  if (root.has("post_processor")) parse_post_processor(root.at("post_processor"), tokenizer);
  parse_style(root, model, tokenizer);
  return tokenizer;
}

HfTokenizer HfTokenizer::open(const std::string& path) {
  return parse(read_file(path, kMaxTokenizerBytes), path);
}

std::optional<int32_t> HfTokenizer::find(std::string_view text) const {
  for (const HfAddedToken& token : added) {
    if (token.text == text) return token.id;
  }
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (tokens[id] == text) return static_cast<int32_t>(id);
  }
  return std::nullopt;
}

HfTokenizerConfig HfTokenizerConfig::parse(std::string_view text, const std::string& source) {
  const Json document = parse_json(text, source);
  const JsonObject root(document, source);
  HfTokenizerConfig config;
  config.bos_token = token_text(root, "bos_token");
  config.eos_token = token_text(root, "eos_token");
  config.unk_token = token_text(root, "unk_token");
  config.pad_token = token_text(root, "pad_token");
  config.add_bos_token = optional_bool(root, "add_bos_token");
  config.add_eos_token = optional_bool(root, "add_eos_token");
  config.add_prefix_space = optional_bool(root, "add_prefix_space");
  parse_chat_templates(root, config);
  if (root.has("added_tokens_decoder")) {
    const std::string where = source + ": key 'added_tokens_decoder'";
    const JsonObject decoder(root.at("added_tokens_decoder"), where);
    for (const auto& [key, value] : decoder.json().items()) {
      int64_t id = -1;
      const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
      if (error != std::errc() || end != key.data() + key.size() || id < 0 || id >= kMaxTokens) {
        fail(ErrorCode::corrupt, "{}: key '{}', expected an id below {}", where, key, kMaxTokens);
      }
      config.added.push_back(parse_added(JsonObject(value, where), id));
    }
    sort_added(config.added, where);
  }
  return config;
}

}  // namespace thimble
