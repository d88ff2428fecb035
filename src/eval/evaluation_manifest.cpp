#include "eval/evaluation_manifest.h"

#include <filesystem>
#include <set>

#include "base/error.h"
#include "base/file.h"

namespace thimble {

namespace {

constexpr std::string_view kManifestFormat = "thimble-eval/1";
constexpr uint64_t kMaxManifestBytes = uint64_t{1} << 24;

std::string_view kv_name(ops::KvType kv) noexcept {
  return kv == ops::KvType::int8 ? "int8" : "f16";
}

Json model_json(const EvaluatedModel& m) {
  return {{"name", m.name},
          {"hash", m.hash},
          {"chat_template", m.chat_template},
          {"tokenizer", m.tokenizer},
          {"text_context", m.text_context}};
}

EvaluatedModel read_model(const Json& json, const std::string& source) {
  const JsonObject o(json, source);
  o.only({"name", "hash", "chat_template", "tokenizer", "text_context"});
  EvaluatedModel m;
  m.name = o.string("name");
  m.hash = o.string("hash");
  m.chat_template = o.string("chat_template");
  m.tokenizer = o.string("tokenizer");
  m.text_context = o.integer("text_context", 0, INT32_MAX);
  return m;
}

const Json& array(const JsonObject& o, std::string_view key) {
  const Json& value = o.at(key);
  if (!value.is_array()) {
    fail(ErrorCode::corrupt, "{}: key '{}': found {}, expected an array", o.source(), key, describe_json(value));
  }
  return value;
}

ops::KvType read_kv(const JsonObject& o) {
  const std::string name = o.string("kv");
  if (name == "f16") return ops::KvType::f16;
  if (name == "int8") return ops::KvType::int8;
  fail(ErrorCode::corrupt, "{}: key 'kv': found '{}', expected f16 or int8", o.source(), name);
}

Shard read_shard(const Json& json, const std::string& source) {
  const JsonObject o(json, source + ": shard");
  o.only({"index", "count", "by"});
  Shard s;
  s.count = static_cast<size_t>(o.integer("count", 1, INT32_MAX));
  s.index = static_cast<size_t>(o.integer("index", 0, static_cast<int64_t>(s.count) - 1));
  s.by = shard_by_from_name(o.string("by"));
  return s;
}

std::string differs(std::string_view what, std::string_view a, std::string_view b) {
  return fmt::format("{}: '{}' and '{}'", what, a, b);
}

std::string different_model(const EvaluatedModel& a, const EvaluatedModel& b) {
  if (a.name != b.name) return differs("models", a.name, b.name);
  if (a.hash.empty() || b.hash.empty()) return {};
  if (a.hash != b.hash) return differs("content of " + a.name, a.hash, b.hash);
  if (a.chat_template != b.chat_template) return differs("chat template", a.chat_template, b.chat_template);
  return a == b ? std::string() : "settings of " + a.name;
}

std::string different_tasks(const EvaluationManifest& a, const EvaluationManifest& b) {
  if (a.tasks.size() != b.tasks.size()) {
    return differs("number of tasks", std::to_string(a.tasks.size()), std::to_string(b.tasks.size()));
  }
  for (size_t i = 0; i < a.tasks.size(); ++i) {
    if (a.tasks[i].name != b.tasks[i].name) return differs("tasks", a.tasks[i].name, b.tasks[i].name);
    if (a.tasks[i] != b.tasks[i])
      return differs("data of task " + a.tasks[i].name, a.tasks[i].data_hash, b.tasks[i].data_hash);
  }
  return {};
}

}  // namespace

ReferenceIdentity EvaluationManifest::reference_identity() const {
  return {reference->hash + "/" + version, reference->chat_template, reference->tokenizer};
}

std::string EvaluationManifest::run_key(size_t model) const {
  return answers_run_key(model_key(model), models[model].chat_template, kv);
}

TaskFidelitySettings EvaluationManifest::fidelity_settings(size_t model, const TaskSet& task) const {
  TaskFidelitySettings s;
  s.kv = kv;
  s.n_ctx = n_ctx;
  s.model_key = model_key(model);
  s.reference_key = reference_key(reference_identity(), task);
  return s;
}

TextRun EvaluationManifest::text_run(size_t model) const {
  return {model_key(model), reference ? reference_identity().model : "", text_hash, models[model].text_context, kv};
}

Json manifest_json(const EvaluationManifest& m) {
  Json models = Json::array(), tasks = Json::array();
  for (const EvaluatedModel& model : m.models) models.push_back(model_json(model));
  for (const EvaluatedTask& t : m.tasks) {
    tasks.push_back({{"task", t.name}, {"data", t.data_hash}, {"items", t.n_items}});
  }
  Json shard;
  if (m.shard) shard = {{"index", m.shard->index}, {"count", m.shard->count}, {"by", shard_by_name(m.shard->by)}};
  return {{"format", kManifestFormat},
          {"version", m.version},
          {"models", models},
          {"reference", m.reference ? model_json(*m.reference) : Json()},
          {"kv", kv_name(m.kv)},
          {"context", m.n_ctx},
          {"tasks", tasks},
          {"tasks_folder", m.tasks_folder},
          {"text", m.text_hash},
          {"shard", shard}};
}

EvaluationManifest read_manifest(const std::string& folder) {
  const std::string path = (std::filesystem::path(folder) / kManifestFile).string();
  const Json json = read_json_file(path, kMaxManifestBytes);
  const JsonObject o(json, path);
  if (const std::string format = o.string("format"); format != kManifestFormat) {
    fail(ErrorCode::unsupported, "{}: key 'format': found '{}', expected '{}'", path, format, kManifestFormat);
  }
  o.only({"format", "version", "models", "reference", "kv", "context", "tasks", "tasks_folder", "text", "shard"});
  EvaluationManifest m;
  m.version = o.string("version");
  for (const Json& model : array(o, "models")) m.models.push_back(read_model(model, path + ": models"));
  if (o.has("reference")) m.reference = read_model(o.at("reference"), path + ": reference");
  m.kv = read_kv(o);
  m.n_ctx = o.integer("context", 0, INT32_MAX);
  for (const Json& task : array(o, "tasks")) {
    const JsonObject t(task, path + ": tasks");
    t.only({"task", "data", "items"});
    m.tasks.push_back({t.string("task"), t.string("data"), static_cast<size_t>(t.integer("items", 0, INT32_MAX))});
  }
  m.tasks_folder = o.string("tasks_folder");
  m.text_hash = o.string("text");
  if (o.has("shard")) m.shard = read_shard(o.at("shard"), path);
  return m;
}

void write_manifest(const std::string& folder, const EvaluationManifest& manifest) {
  const std::string path = (std::filesystem::path(folder) / kManifestFile).string();
  write_file_atomically(path, manifest_json(manifest).dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

std::string different_input(const EvaluationManifest& a, const EvaluationManifest& b) {
  if (a.version != b.version) return differs("version of Thimble", a.version, b.version);
  if (a.models.size() != b.models.size()) {
    return differs("number of models", std::to_string(a.models.size()), std::to_string(b.models.size()));
  }
  for (size_t i = 0; i < a.models.size(); ++i) {
    if (std::string d = different_model(a.models[i], b.models[i]); !d.empty()) return d;
  }
  if (a.reference.has_value() != b.reference.has_value()) return "one has a reference model, the other has none";
  if (a.reference) {
    if (std::string d = different_model(*a.reference, *b.reference); !d.empty()) return "reference: " + d;
  }
  if (a.kv != b.kv) return differs("key/value cache", kv_name(a.kv), kv_name(b.kv));
  if (a.n_ctx != b.n_ctx) return differs("context", std::to_string(a.n_ctx), std::to_string(b.n_ctx));
  if (a.text_hash != b.text_hash) return differs("text", a.text_hash, b.text_hash);
  if (a.shard && b.shard && a.shard->count != b.shard->count) {
    return differs("number of shards", std::to_string(a.shard->count), std::to_string(b.shard->count));
  }
  if (a.shard && b.shard && a.shard->by != b.shard->by) {
    return differs("divided by", shard_by_name(a.shard->by), shard_by_name(b.shard->by));
  }
  return different_tasks(a, b);
}

void check_model_names(const std::vector<EvaluatedModel>& models) {
  std::set<std::string> names;
  for (const EvaluatedModel& m : models) {
    if (names.insert(m.name).second) continue;
    fail(ErrorCode::invalid_argument, "models: found two files called '{}', expected a name of its own for each",
         m.name);
  }
}

}  // namespace thimble
