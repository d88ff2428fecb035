// The file of reference answers: its header, its records, and how it is opened.
#include "eval/reference_answers.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "base/hash.h"
#include "base/json.h"
#include "eval/model_hash.h"

namespace thimble {

namespace {

constexpr std::string_view kReferenceFormat = "thimble-reference/1";
constexpr size_t kHashDigits = 32;

struct RecordHead {
  uint32_t item;
  uint32_t truncated;  // 0 or 1
  uint32_t n, k;
  char prompt_hash[kHashDigits];
};
static_assert(sizeof(RecordHead) == 48);

void hash_value(ContentHasher& hasher, const GgufScalar& value) {
  std::visit(
      [&](const auto& v) {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, std::string_view>) {
          hasher.update(v);
        } else if constexpr (std::is_same_v<T, GgufArray>) {
          hasher.update(v.bytes);
          for (const std::string_view s : v.strings) {
            hasher.update(s);
            hasher.update(std::string_view("\0", 1));
          }
        } else {
          hasher.update(std::as_bytes(std::span(&v, 1)));
        }
      },
      value);
}

std::string prompts_hash(const TaskSet& task) {
  Json all = Json::array();
  for (const TaskItem& item : task.items) {
    Json messages = Json::array();
    for (const ChatMessage& m : task_messages(task, item)) messages.push_back({m.role, m.content});
    all.push_back({item.id, messages});
  }
  return content_hash(all.dump());
}

Json header_json(const TaskSet& task, const ReferenceSettings& s) {
  return {{"format", kReferenceFormat},
          {"model", s.identity.model},
          {"chat_template", s.identity.chat_template},
          {"tokenizer", s.identity.tokenizer},
          {"task", task.name},
          {"data", task.data_hash},
          {"prompts", prompts_hash(task)},
          {"n_items", task.items.size()},
          {"items", s.only ? content_hash(Json(*s.only).dump()) : "all"},
          {"max_tokens", task.max_tokens},
          {"stop", task.stop},
          {"top", kTopTokens}};
}

// Names the first key in which two headers differ.
std::string difference(std::string_view found, const std::string& expected, const std::string& source) {
  const Json a = parse_json(found, source), b = parse_json(expected, source);
  for (const auto& [key, value] : b.items()) {
    if (!a.is_object() || !a.contains(key)) return fmt::format("key '{}' is missing", key);
    if (a.at(key) != value) return fmt::format("key '{}': found {}, expected {}", key, a.at(key).dump(), value.dump());
  }
  return "found other keys";
}

std::string safe_name(const std::string& name) {
  std::string out;
  for (const char c : name) {
    const bool safe =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
    out.push_back(safe ? c : '_');
  }
  return out.substr(0, 64);
}

template <typename T>
void put(std::vector<std::byte>& out, std::span<const T> values) {
  const size_t at = out.size();
  out.resize(at + values.size_bytes());
  if (!values.empty()) std::memcpy(out.data() + at, values.data(), values.size_bytes());
}

template <typename T>
std::vector<T> take(std::span<const std::byte>& rest, size_t n) {
  std::vector<T> out(n);
  if (n > 0) std::memcpy(out.data(), rest.data(), n * sizeof(T));
  rest = rest.subspan(n * sizeof(T));
  return out;
}

RecordHead read_head(std::span<const std::byte> record, const std::string& source) {
  RecordHead head;
  if (record.size() < sizeof head) {
    fail(ErrorCode::corrupt, "{}: found a record of {} bytes, expected at least {}", source, record.size(),
         sizeof head);
  }
  std::memcpy(&head, record.data(), sizeof head);
  // At most 2^30 bytes a record: these products fit 64 bits with n below 2^32 and k at most 64.
  const uint64_t expected = sizeof head + uint64_t{head.n} * (4 + 8 * uint64_t{head.k} + 4);
  if (head.n == 0 || head.k == 0 || head.k > kTopTokens || head.truncated > 1 || record.size() != expected) {
    fail(ErrorCode::corrupt, "{}: item {}: found {} tokens with {} predictions each in {} bytes, expected {} bytes",
         source, head.item, head.n, head.k, record.size(), expected);
  }
  return head;
}

}  // namespace

std::string hash_tokens(std::span<const TokenId> tokens) {
  return content_hash(std::as_bytes(tokens));
}

std::string tokenizer_hash(const GgufFile& gguf) {
  std::vector<const GgufKeyValue*> keys;
  for (const GgufKeyValue& kv : gguf.metadata()) {
    if (kv.key.starts_with("tokenizer.ggml.")) keys.push_back(&kv);
  }
  std::sort(keys.begin(), keys.end(), [](const auto* a, const auto* b) { return a->key < b->key; });
  ContentHasher hasher;
  for (const GgufKeyValue* kv : keys) {
    hasher.update(kv->key);
    hasher.update(gguf_type_name(kv->type()));
    hash_value(hasher, kv->value);
  }
  return hasher.hash();
}

ReferenceIdentity identify_reference(const GgufFile& gguf, const std::optional<ChatTemplate>& chat_template) {
  const ChatTemplate used = chat_template ? *chat_template : detect_chat_template(gguf);
  return {model_hash(gguf) + "/" THIMBLE_VERSION, std::string(chat_template_name(used)), tokenizer_hash(gguf)};
}

std::string reference_key(const ReferenceIdentity& r, const TaskSet& task) {
  const Json parts = {r.model, r.chat_template, r.tokenizer, task.max_tokens, task.stop, kTopTokens};
  return content_hash(parts.dump());
}

std::vector<std::byte> encode_reference(const ReferenceAnswer& answer) {
  RecordHead head{};
  head.item = static_cast<uint32_t>(answer.item);
  head.truncated = answer.truncated ? 1 : 0;
  head.n = static_cast<uint32_t>(answer.tokens.size());
  head.k = static_cast<uint32_t>(answer.n_top);
  answer.prompt_hash.copy(head.prompt_hash, kHashDigits);
  std::vector<std::byte> out;
  put(out, std::span<const RecordHead>(&head, 1));
  put(out, std::span<const TokenId>(answer.tokens));
  put(out, std::span<const TokenId>(answer.top));
  put(out, std::span<const float>(answer.log_p));
  put(out, std::span<const float>(answer.tail));
  return out;
}

ReferenceAnswer parse_reference(std::span<const std::byte> record, const std::string& source) {
  const RecordHead head = read_head(record, source);
  ReferenceAnswer out;
  out.item = head.item;
  out.truncated = head.truncated == 1;
  out.n_top = head.k;
  out.prompt_hash.assign(head.prompt_hash, kHashDigits);
  const size_t n = head.n, all = n * head.k;
  std::span<const std::byte> rest = record.subspan(sizeof head);
  out.tokens = take<TokenId>(rest, n);
  out.top = take<TokenId>(rest, all);
  out.log_p = take<float>(rest, all);
  out.tail = take<float>(rest, n);
  const auto is_share = [](float v) { return v >= 0 && v <= 1; };
  const auto is_log = [](float v) { return std::isfinite(v) && v <= 1e-3f; };
  const auto is_id = [](TokenId id) { return id >= 0; };
  if (!std::all_of(out.tail.begin(), out.tail.end(), is_share) ||
      !std::all_of(out.log_p.begin(), out.log_p.end(), is_log) ||
      !std::all_of(out.tokens.begin(), out.tokens.end(), is_id) ||
      !std::all_of(out.top.begin(), out.top.end(), is_id)) {
    fail(ErrorCode::corrupt, "{}: item {}: found values that are no token ids or probabilities", source, head.item);
  }
  return out;
}

ReferenceFile reference_file(const TaskSet& task, const ReferenceSettings& settings) {
  const std::string header = header_json(task, settings).dump();
  const std::string name = fmt::format("{}-{}.reference", safe_name(task.name), content_hash(header).substr(0, 16));
  return {(std::filesystem::path(settings.folder) / name).string(), header};
}

ReferenceAnswers::ReferenceAnswers(const std::string& path, const std::string& header)
    : path_(path), file_(path, kReferenceMagic) {
  if (file_.header() != header) {
    fail(ErrorCode::corrupt, "{}: made from other inputs: {}", path, difference(file_.header(), header, path));
  }
  const size_t n_items = parse_json(header, path).at("n_items").get<size_t>();
  record_of_.resize(n_items);
  for (size_t r = 0; r < file_.records().size(); ++r) {
    const RecordHead head = read_head(file_.records()[r], path);
    if (head.item >= n_items || record_of_[head.item]) {
      fail(ErrorCode::corrupt, "{}: record {}: found item {}, expected each of {} items at most once", path, r,
           head.item, n_items);
    }
    record_of_[head.item] = r;
  }
}

ReferenceAnswer ReferenceAnswers::read(size_t item) const {
  if (item >= record_of_.size() || !record_of_[item]) {
    fail(ErrorCode::not_found, "{}: found no answer to item {}, expected one", path_, item);
  }
  return parse_reference(file_.records()[*record_of_[item]], path_);
}

}  // namespace thimble
