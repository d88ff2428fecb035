// What a folder of an evaluation (or of one shard of it) was made from: manifest.json. Together with the task files and
// the folder's journal it is all that scoring needs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "eval/fidelity.h"
#include "eval/reference_answers.h"
#include "eval/shard.h"
#include "eval/task_fidelity.h"
#include "ops/ops.h"
#include "tasks/task.h"

namespace thimble {

struct EvaluatedModel {
  std::string name;           // file name
  std::string hash;           // model_hash; empty when this shard does not look at the model
  std::string chat_template;  // empty without tasks
  std::string tokenizer;      // tokenizer_hash
  int64_t text_context = 0;   // tokens of a text chunk
  bool operator==(const EvaluatedModel&) const = default;
};

struct EvaluatedTask {
  std::string name;
  std::string data_hash;  // of the JSONL
  size_t n_items = 0;
  bool operator==(const EvaluatedTask&) const = default;
};

struct EvaluationManifest {
  std::string version;  // of Thimble: part of every journal key
  std::vector<EvaluatedModel> models;
  std::optional<EvaluatedModel> reference;
  ops::KvType kv = ops::KvType::f16;
  int64_t n_ctx = 0;
  std::vector<EvaluatedTask> tasks;
  std::string tasks_folder;  // where they were read, for later passes
  std::string text_hash;     // content_hash of the text; empty: none
  std::optional<Shard> shard;

  /// As part of reference_answers(). There must be a reference.
  ReferenceIdentity reference_identity() const;

  // What a model's work has for keys in the journal.
  std::string model_key(size_t model) const { return models[model].hash + "/" + version; }
  std::string run_key(size_t model) const;  // of answers
  /// Without a journal. There must be a reference.
  TaskFidelitySettings fidelity_settings(size_t model, const TaskSet& task) const;
  TextRun text_run(size_t model) const;
};

/// Names and formats of the files in a folder of an evaluation.
constexpr std::string_view kManifestFile = "manifest.json";
constexpr std::string_view kJournalFile = "journal.jsonl";
constexpr std::string_view kResultsFile = "results.json";

Json manifest_json(const EvaluationManifest& manifest);
/// Reads FOLDER/manifest.json. Errors: as read_json_file; corrupt; unsupported for another format.
EvaluationManifest read_manifest(const std::string& folder);
/// Writes it atomically. Errors: as write_file_atomically.
void write_manifest(const std::string& folder, const EvaluationManifest& manifest);

/// The first input in which two shards of one evaluation differ, in words; empty when there is none. Where they were
/// run and which shards they are does not count, nor does a model that one of them did not look at.
std::string different_input(const EvaluationManifest& a, const EvaluationManifest& b);

/// Two models of one file name would not be told apart. Errors: invalid_argument.
void check_model_names(const std::vector<EvaluatedModel>& models);

}  // namespace thimble
