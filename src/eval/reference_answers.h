// The float model's own greedy answers to a task, token by token with what it predicted there: what candidates are
// compared with. Kept in a file per task (docs/FORMAT.md, "Reference answers") that is made once, goes on after a kill,
// and is used only when every input it depends on is the same.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/record_file.h"
#include "eval/greedy_decoder.h"
#include "eval/top_log_probs.h"
#include "runtime/engine.h"
#include "tasks/task.h"

namespace thimble {

/// First bytes of a file of reference answers.
constexpr std::string_view kReferenceMagic = "THIMREFS";

/// One item's answer.
struct ReferenceAnswer {
  size_t item = 0;              // in the task
  std::string prompt_hash;      // hash_tokens() of the prompt
  bool truncated = false;       // ended by the limit of tokens
  std::vector<TokenId> tokens;  // [n] chosen, with the one that ended the answer; n is 1 or more
  size_t n_top = 0;             // k: tokens kept of each prediction
  std::vector<TokenId> top;     // [n, k]
  std::vector<float> log_p;     // [n, k]
  std::vector<float> tail;      // [n]
  TopRow row(size_t i) const noexcept {
    return {std::span(top).subspan(i * n_top, n_top), std::span(log_p).subspan(i * n_top, n_top), tail[i]};
  }
};

/// content_hash of token ids.
std::string hash_tokens(std::span<const TokenId> tokens);
/// content_hash of everything below tokenizer.ggml. in the metadata: equal for models that cut text alike.
std::string tokenizer_hash(const GgufFile& gguf);

/// The reference model, as far as answers depend on it.
struct ReferenceIdentity {
  std::string model;  // hash of the file, and the version of Thimble
  std::string chat_template;
  std::string tokenizer;  // tokenizer_hash
};
/// Identity of a model without loading it. `chat_template` overrides its own. Errors: as model_hash and
/// detect_chat_template.
ReferenceIdentity identify_reference(const GgufFile& gguf, const std::optional<ChatTemplate>& chat_template);

/// Hash of what one answer depends on besides the item's messages: part of journal keys.
std::string reference_key(const ReferenceIdentity& reference, const TaskSet& task);

struct ReferenceSettings {
  std::string folder;  // made when it is missing
  ReferenceIdentity identity;
  int64_t n_ctx = 0;                             // 0: what the longest item needs
  std::optional<std::vector<size_t>> only = {};  // items that are wanted, ascending; nothing: all
  AnswerSink answered = {};                      // gets the text of answers that are made, before the file has them
};

/// A finished file of answers.
class ReferenceAnswers {
 public:
  /// Errors: as RecordFile; corrupt (another header, naming the first key that differs; a record that makes no sense).
  ReferenceAnswers(const std::string& path, const std::string& header);
  /// Errors: not_found.
  ReferenceAnswer read(size_t item) const;
  const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
  RecordFile file_;
  std::vector<std::optional<size_t>> record_of_;  // by item
};

/// Engines of the reference model; called only when answers have to be made.
using EngineSource = std::function<std::vector<std::shared_ptr<const Engine>>()>;

/// Path and header of the file for these settings: every input is in the header, and its hash in the name.
struct ReferenceFile {
  std::string path, header;
};
ReferenceFile reference_file(const TaskSet& task, const ReferenceSettings& settings);

/// The answers from the file, which is made or finished first where need be. A file that is torn, damaged or of other
/// inputs is never used: a warning says why, and it is made again. Errors: io, resource_exhausted, cancelled (what is
/// done is kept), corrupt (a model that predicts NaN), as task_session_options.
ReferenceAnswers reference_answers(const TaskSet& task, const ReferenceSettings& settings, const EngineSource& engines,
                                   const Task& progress = {});

/// For tests and other readers: the bytes of a record. parse: errors corrupt, naming `source`.
std::vector<std::byte> encode_reference(const ReferenceAnswer& answer);
ReferenceAnswer parse_reference(std::span<const std::byte> record, const std::string& source);

}  // namespace thimble
