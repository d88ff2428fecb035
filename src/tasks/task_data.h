// The items of a task: JSONL text to TaskItems. Apart from files (task.h opens those), so that any bytes can be tried.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "tasks/task.h"

namespace thimble {

/// What is expected of items besides their form.
struct ItemDemands {
  // Metrics and their primary: items without what they compare with are errors.
  std::vector<Metric> metrics;
  Metric primary = Metric::exact;
  bool items_for_format = false;  // the format counts lines by items
  // Calibration files: the conversation may end with the answer, and nothing is compared.
  bool calibration = false;
};

/// Items in the order of their lines; empty lines are passed over. `source` names the file in errors. Errors: corrupt
/// (file, line, key, found, expected: broken JSON, wrong types, unknown keys, no UTF-8, ids used twice, what metrics
/// need and an item lacks, no items at all), resource_exhausted (a line or text longer than the limits of task.h).
std::vector<TaskItem> parse_items(std::string_view content, const std::string& source, const ItemDemands& demands);

/// One line as JSON. `source` names file and line. Errors: corrupt (no JSON, no UTF-8), resource_exhausted (longer than
/// kMaxTaskLineBytes); messages name the key of the object in which the line goes wrong.
Json parse_item_line(std::string_view line, const std::string& source);

/// Whether items have what metrics compare with; their `line` numbers are those of `source`. Errors: corrupt.
void check_demands(const std::vector<TaskItem>& items, const std::string& source, const ItemDemands& demands);

/// A file of items for calibration (NAME.calib.jsonl). Errors: as parse_items and read_file.
std::vector<TaskItem> read_calibration_items(const std::string& path);

}  // namespace thimble
