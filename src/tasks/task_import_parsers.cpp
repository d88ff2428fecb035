// What the rows and lines of foreign files mean.
#include <algorithm>
#include <array>
#include <optional>

#include "base/error.h"
#include "base/utf8.h"
#include "tasks/csv.h"
#include "tasks/json_values.h"
#include "tasks/task_data.h"
#include "tasks/task_import.h"
#include "text/unicode.h"

namespace thimble {

namespace {

std::string numbered(const std::string& name, size_t n) {
  return fmt::format("{}-{:04}", name, n);
}

// ---- CSV

enum class Column { prompt, reference, id, cluster, system, facts, meta };

struct ColumnName {
  std::string_view name;
  Column column;
};
constexpr std::array<ColumnName, 15> kColumns = {{{"prompt", Column::prompt},
                                                  {"input", Column::prompt},
                                                  {"question", Column::prompt},
                                                  {"reference", Column::reference},
                                                  {"ideal", Column::reference},
                                                  {"expected", Column::reference},
                                                  {"answer", Column::reference},
                                                  {"output", Column::reference},
                                                  {"target", Column::reference},
                                                  {"ref", Column::reference},
                                                  {"id", Column::id},
                                                  {"cluster", Column::cluster},
                                                  {"group", Column::cluster},
                                                  {"system", Column::system},
                                                  {"facts", Column::facts}}};

Column column_of(std::string_view header) {
  std::string name;
  for (const char c : strip_unicode(header))
    name.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c);
  const size_t digits = name.find_last_not_of("0123456789_") + 1;
  const std::string_view stem = std::string_view(name).substr(0, digits);  // "reference2", "reference_2"
  for (const ColumnName& known : kColumns) {
    if (known.name == name || (known.column == Column::reference && known.name == stem)) return known.column;
  }
  return Column::meta;
}

// The header's columns. Errors: corrupt when there is not one prompt column, or a column twice.
std::vector<Column> read_header(const CsvRow& header, const std::string& source) {
  std::vector<Column> columns;
  for (size_t i = 0; i < header.fields.size(); ++i) {
    const Column column = column_of(header.fields[i]);
    const bool once = column != Column::meta && column != Column::reference;
    if (once && std::find(columns.begin(), columns.end(), column) != columns.end()) {
      fail(ErrorCode::corrupt, "{}: line {}: found column '{}' beside another one for the same, expected one", source,
           header.line, printable(header.fields[i]));
    }
    columns.push_back(column);
  }
  if (std::find(columns.begin(), columns.end(), Column::prompt) == columns.end()) {
    fail(ErrorCode::corrupt,
         "{}: line {}: key 'prompt': found no such column, expected 'prompt', 'input' or 'question'", source,
         header.line);
  }
  return columns;
}

// Parts of "a; b" without white space at their ends; empty parts are left out.
std::vector<std::string> split_list(std::string_view text, char separator) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const size_t end = std::min(text.find(separator), text.size());
    const std::string_view part = strip_unicode(text.substr(0, end));
    if (!part.empty()) out.emplace_back(part);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

char find_delimiter(std::string_view text) {
  const std::string_view first = text.substr(0, text.find('\n'));
  for (const char delimiter : {',', ';', '\t'}) {
    for (const std::string& name : split_list(first, delimiter)) {
      std::string_view bare = name;
      if (bare.starts_with("\xEF\xBB\xBF")) bare.remove_prefix(3);
      if (bare.size() >= 2 && bare.front() == '"' && bare.back() == '"') bare = bare.substr(1, bare.size() - 2);
      if (column_of(bare) == Column::prompt) return delimiter;
    }
  }
  return ',';
}

ImportedItem read_row(const CsvRow& row, const CsvRow& header, const std::vector<Column>& columns,
                      const std::string& source) {
  ImportedItem out;
  TaskItem& item = out.item;
  item.line = row.line;
  std::string prompt, system;
  for (size_t i = 0; i < columns.size(); ++i) {
    const std::string& field = row.fields[i];
    if (strip_unicode(field).empty()) continue;
    switch (columns[i]) {
      case Column::prompt:
        prompt = field;
        break;
      case Column::reference:
        item.refs.push_back(field);
        break;
      case Column::id:
        item.id = strip_unicode(field);
        break;
      case Column::cluster:
        item.cluster = strip_unicode(field);
        break;
      case Column::system:
        system = field;
        break;
      case Column::facts:
        for (const std::string& fact : split_list(field, ';')) item.facts.push_back(split_list(fact, '|'));
        std::erase_if(item.facts, [](const std::vector<std::string>& fact) { return fact.empty(); });
        break;
      case Column::meta:
        out.meta[header.fields[i]] = field;
        break;
    }
  }
  if (prompt.empty()) {
    fail(ErrorCode::corrupt, "{}: line {}: key 'prompt': found nothing, expected a text", source, row.line);
  }
  if (!system.empty()) item.messages.push_back({"system", std::move(system)});
  item.messages.push_back({"user", std::move(prompt)});
  return out;
}

void name_items(std::vector<ImportedItem>& items, const std::string& name) {
  for (size_t i = 0; i < items.size(); ++i) {
    TaskItem& item = items[i].item;
    if (item.id.empty()) item.id = numbered(name, i + 1);
    if (item.cluster.empty()) item.cluster = item.id;
  }
}

// ---- OpenAI evals

ChatMessage read_message(const JsonObject& message) {
  message.only({"role", "content", "name"});
  std::string role = message.string("role");
  const std::string name = message.string("name", "");
  if (role == "developer") role = "system";
  if (role == "system" && name == "example_user") role = "user";
  if (role == "system" && name == "example_assistant") role = "assistant";
  if (role == "tool" || role == "function") {
    fail(ErrorCode::unsupported, "{}: key 'role': found '{}', expected system, user or assistant: no tools are called",
         message.source(), role);
  }
  if (role != "system" && role != "user" && role != "assistant") {
    fail_value(message.source(), "role", Json(role), "system, user or assistant");
  }
  return {role, message.string("content")};
}

std::vector<ChatMessage> read_input(const Json& input, const std::string& source) {
  if (input.is_string() && !input.get_ref<const std::string&>().empty()) {
    return {{"user", input.get<std::string>()}};
  }
  if (!input.is_array() || input.empty()) {
    fail_value(source, "input", input, "a text or an array of at least one message");
  }
  std::vector<ChatMessage> out;
  for (size_t i = 0; i < input.size(); ++i) {
    out.push_back(read_message(JsonObject(input[i], fmt::format("{}: key 'input[{}]'", source, i))));
  }
  if (out.back().role != "user") {
    fail(ErrorCode::corrupt, "{}: key 'input': found a last message of role {}, expected user: the model answers it",
         source, out.back().role);
  }
  return out;
}

ImportedItem read_sample(const JsonObject& sample) {
  ImportedItem out;
  const std::string& source = sample.source();
  out.item.messages = read_input(sample.at("input"), source);
  if (sample.has("ideal")) {
    const Json& ideal = sample.at("ideal");
    out.item.refs = ideal.is_array() ? read_strings(source, "ideal", ideal)
                                     : std::vector<std::string>{read_string(source, "ideal", ideal)};
  }
  if (sample.has("id")) out.item.id = read_string(source, "id", sample.at("id"));
  if (sample.has("cluster")) out.item.cluster = read_string(source, "cluster", sample.at("cluster"));
  for (const auto& [key, value] : sample.json().items()) {
    if (key != "input" && key != "ideal" && key != "id" && key != "cluster") out.meta[key] = value;
  }
  return out;
}

}  // namespace

std::vector<ImportedItem> parse_csv_items(std::string_view text, const std::string& source, const std::string& name) {
  const std::vector<CsvRow> rows = parse_csv(text, find_delimiter(text), source);
  if (rows.empty()) fail(ErrorCode::corrupt, "{}: found no lines, expected a line of column names", source);
  const std::vector<Column> columns = read_header(rows.front(), source);
  std::vector<ImportedItem> items;
  for (size_t i = 1; i < rows.size(); ++i) items.push_back(read_row(rows[i], rows.front(), columns, source));
  if (items.empty()) fail(ErrorCode::corrupt, "{}: found no rows, expected one an item", source);
  name_items(items, name);
  return items;
}

std::vector<ImportedItem> parse_evals_items(std::string_view text, const std::string& source, const std::string& name) {
  std::vector<ImportedItem> items;
  int64_t line_number = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    at = end + 1;
    ++line_number;
    if (strip_unicode(line).empty()) continue;
    const std::string where = fmt::format("{}: line {}", source, line_number);
    const Json json = parse_item_line(line, where);
    items.push_back(read_sample(JsonObject(json, where)));
    items.back().item.line = line_number;
  }
  if (items.empty()) fail(ErrorCode::corrupt, "{}: found no items, expected one JSON object a line", source);
  name_items(items, name);
  return items;
}

}  // namespace thimble
