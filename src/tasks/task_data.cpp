#include "tasks/task_data.h"

#include <algorithm>
#include <unordered_set>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"
#include "tasks/json_values.h"
#include "tasks/score.h"

namespace thimble {

namespace {

// Hears the parser up to the first error, to say in which key of the item it is.
class LastKey : public nlohmann::json_sax<Json> {
 public:
  const std::string& key() const noexcept { return key_; }
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(size_t) override { return ++depth_ > 0; }
  bool end_object() override { return --depth_ >= 0; }
  bool start_array(size_t) override { return ++depth_ > 0; }
  bool end_array() override { return --depth_ >= 0; }
  bool key(string_t& name) override {
    if (depth_ == 1) key_ = name;
    return true;
  }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception&) override { return false; }

 private:
  int depth_ = 0;
  std::string key_;
};

// ": key 'refs'" for the key in which `line` stops being JSON; empty before the first key.
std::string where_broken(std::string_view line) {
  LastKey last;
  (void)Json::sax_parse(line, &last);
  return last.key().empty() ? "" : fmt::format(": key '{}'", printable(last.key()));
}

std::vector<ChatMessage> read_messages(const std::string& source, const Json& value, bool calibration) {
  if (!value.is_array() || value.empty()) fail_value(source, "messages", value, "an array of at least one message");
  std::vector<ChatMessage> out;
  for (size_t i = 0; i < value.size(); ++i) {
    const JsonObject message(value[i], fmt::format("{}: key 'messages[{}]'", source, i));
    message.only({"role", "content"});
    ChatMessage m{message.string("role"), message.string("content")};
    if (m.role != "system" && m.role != "user" && m.role != "assistant") {
      fail_value(message.source(), "role", Json(m.role), "system, user or assistant");
    }
    out.push_back(std::move(m));
  }
  if (out.back().role != "user" && !calibration) {
    fail(ErrorCode::corrupt, "{}: key 'messages': found a last message of role {}, expected user: the model answers it",
         source, out.back().role);
  }
  return out;
}

std::vector<std::vector<std::string>> read_facts(const std::string& source, const Json& value) {
  if (!value.is_array()) fail_value(source, "facts", value, "an array of arrays of alternatives");
  std::vector<std::vector<std::string>> out;
  for (const Json& fact : value) {
    if (!fact.is_array() || fact.empty()) fail_value(source, "facts", fact, "an array of at least one alternative");
    out.push_back(read_strings(source, "facts", fact));
  }
  return out;
}

// {"src": "떡볶이", "refs": ["Tteokbokki"]}; "ref" is one reference, "desc" is for people.
std::vector<LineItem> read_line_items(const std::string& source, const Json& value) {
  if (!value.is_array()) fail_value(source, "items", value, "an array of objects");
  std::vector<LineItem> out;
  for (size_t i = 0; i < value.size(); ++i) {
    const JsonObject object(value[i], fmt::format("{}: key 'items[{}]'", source, i));
    object.only({"src", "ref", "refs", "desc"});
    LineItem item;
    item.source = object.string("src", "");
    if (object.has("desc")) (void)object.string("desc");
    if (object.has("refs")) item.refs = read_strings(object.source(), "refs", object.at("refs"));
    if (object.has("ref")) item.refs.push_back(read_string(object.source(), "ref", object.at("ref")));
    if (item.refs.empty()) {
      fail(ErrorCode::corrupt, "{}: key 'refs' is missing or empty, expected a reference", object.source());
    }
    out.push_back(std::move(item));
  }
  return out;
}

bool has_what_it_needs(const TaskItem& item, Needs needs) noexcept {
  switch (needs) {
    case Needs::refs:
      return !item.refs.empty();
    case Needs::facts:
      return !item.facts.empty();
    case Needs::items:
      return !item.items.empty();
    case Needs::nothing:
    case Needs::format:
      return true;
  }
  return true;
}

std::string_view needed_key(Needs needs) noexcept {
  return needs == Needs::refs ? "refs" : needs == Needs::facts ? "facts" : "items";
}

// References are compared with by most metrics, so every item has one as soon as one metric needs it. Facts and line
// items may be missing from some items unless they decide.
void check_item(const TaskItem& item, const std::string& source, const ItemDemands& demands) {
  for (const Metric m : demands.metrics) {
    const Needs needs = metric_row(m).needs;
    if ((needs == Needs::refs || m == demands.primary) && !has_what_it_needs(item, needs)) {
      fail(ErrorCode::corrupt, "{}: key '{}' is missing or empty, expected what metric {} compares with", source,
           needed_key(needs), metric_name(m));
    }
  }
  if (demands.items_for_format && item.items.empty()) {
    fail(ErrorCode::corrupt, "{}: key 'items' is missing or empty, expected items: the format counts lines by them",
         source);
  }
}

TaskItem read_item(std::string_view line, const std::string& source, const ItemDemands& demands) {
  const Json json = parse_item_line(line, source);
  const JsonObject object(json, source);
  object.only({"id", "messages", "refs", "facts", "cluster", "task", "meta", "items", "facts_auto"});
  TaskItem item;
  item.id = read_string(source, "id", object.at("id"));
  item.cluster = object.has("cluster") ? read_string(source, "cluster", object.at("cluster")) : item.id;
  item.messages = read_messages(source, object.at("messages"), demands.calibration);
  if (object.has("refs")) item.refs = read_strings(source, "refs", object.at("refs"));
  if (object.has("facts")) item.facts = read_facts(source, object.at("facts"));
  if (object.has("items")) item.items = read_line_items(source, object.at("items"));
  if (object.has("task")) (void)object.string("task");
  if (object.has("meta") && !object.at("meta").is_object()) {
    fail_value(source, "meta", object.at("meta"), "an object");
  }
  if (object.has("facts_auto") && !object.at("facts_auto").is_array()) {
    fail_value(source, "facts_auto", object.at("facts_auto"), "an array");
  }
  return item;
}

}  // namespace

Json parse_item_line(std::string_view line, const std::string& source) {
  if (line.size() > kMaxTaskLineBytes) {
    fail(ErrorCode::resource_exhausted, "{}{}: found {} bytes, expected at most {} in one item", source,
         where_broken(line.substr(0, kMaxTaskLineBytes)), line.size(), kMaxTaskLineBytes);
  }
  if (!is_utf8(line)) {
    fail(ErrorCode::corrupt, "{}{}: found bytes that are no UTF-8, expected UTF-8 text", source, where_broken(line));
  }
  try {
    return parse_json(line, source);
  } catch (const Error&) {
    return parse_json(line, source + where_broken(line));  // fails again, and says where
  }
}

void check_demands(const std::vector<TaskItem>& items, const std::string& source, const ItemDemands& demands) {
  for (const TaskItem& item : items) check_item(item, fmt::format("{}: line {}", source, item.line), demands);
  for (const Metric m : demands.metrics) {
    const Needs needs = metric_row(m).needs;
    if (std::none_of(items.begin(), items.end(), [&](const TaskItem& i) { return has_what_it_needs(i, needs); })) {
      fail(ErrorCode::corrupt, "{}: key '{}' is in no item, expected it in some: metric {} compares with it", source,
           needed_key(needs), metric_name(m));
    }
  }
}

std::vector<TaskItem> parse_items(std::string_view content, const std::string& source, const ItemDemands& demands) {
  std::vector<TaskItem> items;
  std::unordered_set<std::string> ids;
  int64_t line_number = 0;
  for (size_t at = 0; at < content.size();) {
    const size_t end = std::min(content.find('\n', at), content.size());
    const std::string_view line = content.substr(at, end - at);
    at = end + 1;
    ++line_number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string where = fmt::format("{}: line {}", source, line_number);
    TaskItem item = read_item(line, where, demands);
    item.line = line_number;
    if (!ids.insert(item.id).second) {
      fail(ErrorCode::corrupt, "{}: key 'id': found '{}' a second time, expected a name of its own for each item",
           where, printable(item.id));
    }
    items.push_back(std::move(item));
  }
  if (items.empty()) fail(ErrorCode::corrupt, "{}: found no items, expected one JSON object a line", source);
  check_demands(items, source, demands);
  return items;
}

std::vector<TaskItem> read_calibration_items(const std::string& path) {
  ItemDemands demands;
  demands.calibration = true;
  return parse_items(read_file(path, kMaxTaskDataBytes), path, demands);
}

}  // namespace thimble
