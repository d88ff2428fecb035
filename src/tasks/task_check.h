// What is wrong, or may be, with a folder of tasks before a model spends hours on it: items that do not fit, answers
// that would be cut, prompts that are there twice, and evaluation data among the calibration data.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/progress.h"
#include "tasks/task.h"
#include "text/tokenizer.h"

namespace thimble {

struct Finding {
  bool is_problem = false;  // else a warning
  std::string text;         // names files, lines or ids
};

/// Tokens of prompts or references: of the shortest, the middle one and the longest.
struct TokenLengths {
  int64_t least = 0, median = 0, most = 0;
};

struct TaskCheck {
  std::string task, path;
  size_t n_items = 0, n_clusters = 0;
  size_t n_calibration = 0;             // items in NAME.calib.jsonl
  std::optional<TokenLengths> prompts;  // with the chat template, with a tokenizer only
  std::optional<TokenLengths> answers;  // of the references
  std::vector<Finding> findings;
};

struct FolderCheck {
  std::vector<TaskCheck> tasks;
  std::vector<Finding> findings;       // across tasks: items that are also in a calibration file
  size_t n_problems() const noexcept;  // in both
};

/// The model whose tokens are counted.
struct CheckModel {
  const Tokenizer* tokenizer = nullptr;
  ChatTemplate chat_template = ChatTemplate::chatml;
  int64_t n_ctx = 0;  // tokens of prompt and answer that fit
};

/// What the user says in an item, without case and white space: the same for items that ask the same.
std::string prompt_identity(const TaskItem& item);

/// Reads every task of `folder` and every *.calib.jsonl beside them. `model`: null leaves tokens out. Errors: as
/// read_tasks and read_calibration_items, cancelled.
FolderCheck check_tasks(const std::string& folder, const CheckModel* model, const Task& progress = {});

}  // namespace thimble
