#include "base/json.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/file.h"

namespace thimble {

namespace {

// Depth of nesting by a scan over the text, so that the recursive consumers of the tree never meet a deep one.
int nesting_depth(std::string_view text) {
  int depth = 0;
  int deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      deepest = std::max(deepest, ++depth);
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return deepest;
}

}  // namespace

Json parse_json(std::string_view text, const std::string& source) {
  if (const int depth = nesting_depth(text); depth > kMaxJsonDepth) {
    fail(ErrorCode::corrupt, "{}: JSON nested {} deep, expected at most {}", source, depth, kMaxJsonDepth);
  }
  try {
    return Json::parse(text);
  } catch (const Json::exception& e) {
    fail(ErrorCode::corrupt, "{}: not valid JSON: {}", source, e.what());
  }
}

Json read_json_file(const std::string& path, uint64_t max_bytes) {
  return parse_json(read_file(path, max_bytes), path);
}

std::string describe_json(const Json& value) {
  if (value.is_structured() || (value.is_string() && value.get_ref<const std::string&>().size() > 60)) {
    return value.type_name();
  }
  return fmt::format("{} {}", value.type_name(), value.dump(-1, ' ', true, Json::error_handler_t::replace));
}

JsonObject::JsonObject(const Json& value, std::string source) : value_(&value), source_(std::move(source)) {
  if (!value.is_object()) fail(ErrorCode::corrupt, "{}: found {}, expected an object", source_, describe_json(value));
}

bool JsonObject::has(std::string_view key) const {
  const auto it = value_->find(std::string(key));
  return it != value_->end() && !it->is_null();
}

const Json& JsonObject::at(std::string_view key) const {
  const auto it = value_->find(std::string(key));
  if (it == value_->end()) fail(ErrorCode::corrupt, "{}: key '{}' is missing", source_, key);
  return *it;
}

std::string JsonObject::string(std::string_view key) const {
  const Json& v = at(key);
  if (!v.is_string()) {
    fail(ErrorCode::corrupt, "{}: key '{}': found {}, expected a string", source_, key, describe_json(v));
  }
  return v.get<std::string>();
}

std::string JsonObject::string(std::string_view key, std::string_view fallback) const {
  return has(key) ? string(key) : std::string(fallback);
}

int64_t JsonObject::integer(std::string_view key, int64_t min, int64_t max) const {
  const Json& v = at(key);
  const bool fits = v.is_number_unsigned()
                        ? v.get<uint64_t>() <= static_cast<uint64_t>(std::max<int64_t>(max, 0)) &&
                              (min <= 0 || v.get<uint64_t>() >= static_cast<uint64_t>(min))
                        : v.is_number_integer() && v.get<int64_t>() >= min && v.get<int64_t>() <= max;
  if (!fits) {
    fail(ErrorCode::corrupt, "{}: key '{}': found {}, expected an integer from {} to {}", source_, key,
         describe_json(v), min, max);
  }
  return v.get<int64_t>();
}

int64_t JsonObject::integer(std::string_view key, int64_t min, int64_t max, int64_t fallback) const {
  return has(key) ? integer(key, min, max) : fallback;
}

double JsonObject::number(std::string_view key) const {
  const Json& v = at(key);
  if (!v.is_number() || !std::isfinite(v.get<double>())) {
    fail(ErrorCode::corrupt, "{}: key '{}': found {}, expected a finite number", source_, key, describe_json(v));
  }
  return v.get<double>();
}

double JsonObject::number(std::string_view key, double fallback) const {
  return has(key) ? number(key) : fallback;
}

bool JsonObject::boolean(std::string_view key, bool fallback) const {
  if (!has(key)) return fallback;
  const Json& v = at(key);
  if (!v.is_boolean()) {
    fail(ErrorCode::corrupt, "{}: key '{}': found {}, expected true or false", source_, key, describe_json(v));
  }
  return v.get<bool>();
}

void JsonObject::only(std::initializer_list<std::string_view> known) const {
  for (const auto& [key, value] : value_->items()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      fail(ErrorCode::corrupt, "{}: key '{}' is not known, expected one of: {}", source_, key, fmt::join(known, ", "));
    }
  }
}

}  // namespace thimble
