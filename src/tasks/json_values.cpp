#include "tasks/json_values.h"

#include "base/error.h"
#include "tasks/task.h"

namespace thimble {

void fail_value(const std::string& source, std::string_view key, const Json& found, std::string_view expected) {
  fail(ErrorCode::corrupt, "{}: key '{}': found {}, expected {}", source, key, describe_json(found), expected);
}

std::string read_string(const std::string& source, std::string_view key, const Json& value) {
  if (!value.is_string() || value.get_ref<const std::string&>().empty()) {
    fail_value(source, key, value, "a string that is not empty");
  }
  std::string text = value.get<std::string>();
  if (text.size() > kMaxReferenceBytes) {
    fail(ErrorCode::resource_exhausted, "{}: key '{}': found a string of {} bytes, expected at most {}", source, key,
         text.size(), kMaxReferenceBytes);
  }
  return text;
}

std::vector<std::string> read_strings(const std::string& source, std::string_view key, const Json& value) {
  if (!value.is_array()) fail_value(source, key, value, "an array of strings");
  std::vector<std::string> out;
  for (const Json& element : value) out.push_back(read_string(source, key, element));
  return out;
}

}  // namespace thimble
