// Any bytes given as items of a task, as CSV or as JSONL of OpenAI evals end in items or in Error; what import makes of
// them, the reader of tasks takes; and every metric scores whatever text is in them.
#include "base/error.h"
#include "eval/task_run.h"
#include "tasks/score.h"
#include "tasks/task_data.h"
#include "tasks/task_import.h"
#include "tasks/task_write.h"

#include <cstdlib>

namespace {

using thimble::ImportedItem;

template <typename F>
void attempt(F&& parse) {
  try {
    parse();
  } catch (const thimble::Error&) {
  }
}

void read_back(const std::vector<ImportedItem>& items) {
  thimble::ItemDemands demands;
  // Ids may be there twice: import refuses those later.
  attempt([&] { thimble::parse_items(thimble::items_text(items, thimble::ItemUse::evaluation), "fuzz", demands); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  attempt([&] {
    thimble::parse_items(text, "fuzz", {{thimble::Metric::exact}, thimble::Metric::exact, false, false});
  });
  attempt([&] { read_back(thimble::parse_csv_items(text, "fuzz", "name")); });
  attempt([&] { read_back(thimble::parse_evals_items(text, "fuzz", "name")); });
  // First half the answer, second half the reference.
  const std::string_view answer = text.substr(0, std::min<size_t>(size / 2, 2000));
  thimble::TaskSet task;
  thimble::TaskItem item;
  item.id = "a";
  item.refs = {std::string(text.substr(size / 2, 2000))};
  item.facts = {item.refs};
  item.items = {{"", item.refs}};
  task.format.json = thimble::JsonForm::object;
  for (const thimble::MetricRow& row : thimble::metric_table()) task.metrics.push_back(row.metric);
  for (const auto& [metric, score] : thimble::score_item(task, item, std::string(answer), false).scores) {
    const thimble::MetricRow& row = thimble::metric_row(metric);
    const bool bounded = row.better != thimble::Better::neither;
    if (!(score >= 0.0) || (bounded && score > row.scale * (1 + 1e-9))) std::abort();
  }
  return 0;
}
