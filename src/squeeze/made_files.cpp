#include "squeeze/made_files.h"

#include <filesystem>

#include "base/error.h"
#include "base/json.h"
#include "squeeze/work_files.h"

namespace thimble {

namespace {

std::string bytes_key(const std::string& hash) {
  return "bytes/" + hash;
}

// The value under `key`, with the name it has in messages.
struct JournalValue {
  Json json;
  std::string source;
};

std::optional<JournalValue> journal_value(const Journal& journal, const std::string& key) {
  const std::optional<std::string> text = journal.find(key);
  if (!text) return std::nullopt;
  const std::string source = "journal entry " + key;
  return JournalValue{parse_json(*text, source), source};
}

}  // namespace

std::string MadeFiles::hash_of(const std::string& key) const {
  const std::optional<JournalValue> known = journal_value(journal_, key);
  if (!known) return "";
  if (!known->json.is_string()) {
    fail(ErrorCode::corrupt, "{}: found {}, expected a hash", known->source, describe_json(known->json));
  }
  return known->json.get<std::string>();
}

std::optional<std::string> MadeFiles::unchanged(const std::string& key, const std::string& path) const {
  const std::string known = hash_of(key);
  if (known.empty()) return std::nullopt;
  if (std::filesystem::is_regular_file(path) && file_hash(path) == known) {
    task_.say(LogLevel::info, "{}: taken from an earlier run", path);
    return known;
  }
  task_.say(LogLevel::warning, "{}: missing or changed since an earlier run, made again", path);
  return std::nullopt;
}

void MadeFiles::remember(const std::string& key, const std::string& hash) {
  if (hash_of(key) != hash) journal_.append(key, Json(hash).dump());
}

uint64_t MadeFiles::bytes_of(const std::string& hash) const {
  const std::optional<JournalValue> known = journal_value(journal_, bytes_key(hash));
  if (!known) return 0;
  if (!known->json.is_number_unsigned()) {
    fail(ErrorCode::corrupt, "{}: found {}, expected a number of bytes", known->source, describe_json(known->json));
  }
  return known->json.get<uint64_t>();
}

void MadeFiles::remember_bytes(const std::string& hash, uint64_t bytes) {
  if (!journal_.find(bytes_key(hash))) journal_.append(bytes_key(hash), Json(bytes).dump());
}

}  // namespace thimble
