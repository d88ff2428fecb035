// The text of task files, as the reader of task.h takes it: for import and for examples.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tasks/task_import.h"

namespace thimble {

enum class ItemUse {
  evaluation,   // references beside the conversation
  calibration,  // the first reference is the assistant's turn
};

/// One JSON object a line. Items for calibration without a reference end with the user's turn.
std::string items_text(const std::vector<ImportedItem>& items, ItemUse use);

/// NAME.task.json for `data`, the content of the file task.data_path. `comment`: a string or an array of them; null for
/// none. Of the format's rules, max_lines and max_chars are written.
std::string task_text(const TaskSet& task, std::string_view data, const Json& comment);

/// Letters, digits, "-", "_" and ".", not at the start: what a name of files can hold everywhere.
bool is_task_name(std::string_view name) noexcept;

/// Makes `folder` and its parents. Errors: io.
void make_folder(const std::string& folder);

}  // namespace thimble
