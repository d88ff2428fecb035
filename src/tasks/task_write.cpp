#include "tasks/task_write.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "tasks/sha256.h"

namespace thimble {

namespace {

// Keys in the order in which people read them; Json sorts its own.
using OrderedJson = nlohmann::ordered_json;

OrderedJson item_json(const ImportedItem& imported, ItemUse use) {
  const TaskItem& item = imported.item;
  OrderedJson out = {{"id", item.id}, {"cluster", item.cluster}};
  OrderedJson messages = OrderedJson::array();
  for (const ChatMessage& m : item.messages) messages.push_back({{"role", m.role}, {"content", m.content}});
  if (use == ItemUse::calibration && !item.refs.empty()) {
    messages.push_back({{"role", "assistant"}, {"content", item.refs.front()}});
  }
  out["messages"] = messages;
  out["refs"] = item.refs;
  if (!item.facts.empty()) out["facts"] = item.facts;
  if (!item.items.empty()) {
    OrderedJson lines = OrderedJson::array();
    for (const LineItem& line : item.items) lines.push_back({{"src", line.source}, {"refs", line.refs}});
    out["items"] = lines;
  }
  if (!imported.meta.empty()) out["meta"] = imported.meta;
  return out;
}

}  // namespace

std::string items_text(const std::vector<ImportedItem>& items, ItemUse use) {
  std::string out;
  for (const ImportedItem& item : items) out += item_json(item, use).dump() + "\n";
  return out;
}

std::string task_text(const TaskSet& task, std::string_view data, const Json& comment) {
  OrderedJson out = {{"task", task.name}, {"version", task.version}};
  if (!comment.is_null()) out["comment"] = comment;
  out["data"] = std::filesystem::path(task.data_path).filename().string();
  out["sha256"] = sha256(data);
  out["license"] = task.license;
  if (!task.system.empty()) out["system"] = task.system;
  out["gen"] = {{"max_tokens", task.max_tokens}, {"stop", task.stop}};
  OrderedJson also = OrderedJson::array();
  for (const Metric m : task.metrics) {
    if (m != task.primary) also.push_back(metric_name(m));
  }
  out["metrics"] = {{"primary", metric_name(task.primary)}, {"also", also}};
  OrderedJson format = OrderedJson::object();
  if (task.format.max_chars != FormatRules::kNoLimit) format["max_chars"] = task.format.max_chars;
  if (task.format.max_lines != FormatRules::kNoLimit) format["max_lines"] = task.format.max_lines;
  if (!format.empty()) out["format"] = format;
  return out.dump(2) + "\n";
}

bool is_task_name(std::string_view name) noexcept {
  return !name.empty() && name.front() != '.' && name.size() <= 100 &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
                  c == '.';
         });
}

void make_folder(const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) fail(ErrorCode::io, "{}: cannot make the folder: {}", folder, error.message());
}

}  // namespace thimble
