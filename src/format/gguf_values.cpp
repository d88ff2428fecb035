// Lookups and typed getters of GgufFile: every refusal names the file, the key, what was found and what was expected.
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "base/error.h"
#include "format/byte_reader.h"
#include "format/gguf.h"

namespace thimble {

namespace {

// Sign and magnitude of any integer value, so that u64 and i64 compare without wrapping.
struct Integer {
  bool negative;
  uint64_t magnitude;
};

template <typename T>
constexpr bool kIsInteger = std::is_integral_v<T> && !std::is_same_v<T, bool>;

std::optional<Integer> as_integer(const GgufScalar& value) noexcept {
  return std::visit(
      [](const auto& v) -> std::optional<Integer> {
        using T = std::decay_t<decltype(v)>;
        if constexpr (kIsInteger<T>) {
          using Wide = std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>;
          const bool negative = std::is_signed_v<T> && v < T{0};
          const auto bits = static_cast<uint64_t>(Wide{v});
          return Integer{negative, negative ? uint64_t{0} - bits : bits};
        } else {
          return std::nullopt;
        }
      },
      value);
}

std::string describe(const GgufKeyValue& kv) {
  const std::string value = std::visit(
      [](const auto& v) -> std::string {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, GgufArray>) {
          return fmt::format("of {} {}", v.count, gguf_type_name(v.element_type));
        } else if constexpr (std::is_same_v<T, std::string_view>) {
          return fmt::format("'{}'", printable(v, 40));
        } else {
          return fmt::format("{}", v);
        }
      },
      kv.value);
  return fmt::format("{} {}", gguf_type_name(kv.type()), value);
}

// Calls `use(x)` for every element of a numeric array with the element's own type; false for other element types.
template <typename T, typename Use>
void each_element(const GgufArray& array, const Use& use) {
  for (uint64_t i = 0; i < array.count; ++i) {
    T x;
    std::memcpy(&x, array.bytes.data() + i * sizeof(T), sizeof(T));
    use(x);
  }
}

template <typename Use>
bool visit_numbers(const GgufArray& array, const Use& use) {
  switch (array.element_type) {
    case GgufType::u8:
      return each_element<uint8_t>(array, use), true;
    case GgufType::i8:
      return each_element<int8_t>(array, use), true;
    case GgufType::u16:
      return each_element<uint16_t>(array, use), true;
    case GgufType::i16:
      return each_element<int16_t>(array, use), true;
    case GgufType::u32:
      return each_element<uint32_t>(array, use), true;
    case GgufType::i32:
      return each_element<int32_t>(array, use), true;
    case GgufType::f32:
      return each_element<float>(array, use), true;
    case GgufType::u64:
      return each_element<uint64_t>(array, use), true;
    case GgufType::i64:
      return each_element<int64_t>(array, use), true;
    case GgufType::f64:
      return each_element<double>(array, use), true;
    case GgufType::boolean:
    case GgufType::string:
    case GgufType::array:
      return false;
  }
  return false;
}

}  // namespace

const GgufKeyValue* GgufFile::find(std::string_view key) const noexcept {
  const auto it = metadata_index_.find(key);
  return it == metadata_index_.end() ? nullptr : &metadata_[it->second];
}

const GgufTensor* GgufFile::find_tensor(std::string_view name) const noexcept {
  const auto it = tensor_index_.find(name);
  return it == tensor_index_.end() ? nullptr : &tensors_[it->second];
}

const GgufTensor& GgufFile::tensor(std::string_view name) const {
  const GgufTensor* found = find_tensor(name);
  if (found == nullptr) fail(ErrorCode::corrupt, "{}: tensor '{}' is missing", source_, printable(name));
  return *found;
}

void GgufFile::fail_value(const GgufKeyValue& found, std::string_view expected) const {
  fail(ErrorCode::corrupt, "{}: key '{}': found {}, expected {}", source_, printable(found.key), describe(found),
       expected);
}

const GgufKeyValue& GgufFile::require(std::string_view key) const {
  const GgufKeyValue* found = find(key);
  if (found == nullptr) fail(ErrorCode::corrupt, "{}: key '{}' is missing", source_, printable(key));
  return *found;
}

uint64_t GgufFile::get_uint(std::string_view key, uint64_t min, uint64_t max) const {
  const GgufKeyValue& kv = require(key);
  const auto integer = as_integer(kv.value);
  if (!integer || integer->negative || integer->magnitude < min || integer->magnitude > max) {
    fail_value(kv, min == max ? fmt::format("integer {}", min) : fmt::format("an integer from {} to {}", min, max));
  }
  return integer->magnitude;
}

uint64_t GgufFile::get_uint(std::string_view key, uint64_t min, uint64_t max, uint64_t fallback) const {
  return find(key) == nullptr ? fallback : get_uint(key, min, max);
}

double GgufFile::get_float(std::string_view key) const {
  const GgufKeyValue& kv = require(key);
  double value = std::numeric_limits<double>::quiet_NaN();
  if (const auto* f = std::get_if<float>(&kv.value)) value = *f;
  if (const auto* d = std::get_if<double>(&kv.value)) value = *d;
  if (!std::isfinite(value)) fail_value(kv, "a finite f32 or f64");
  return value;
}

double GgufFile::get_float(std::string_view key, double fallback) const {
  return find(key) == nullptr ? fallback : get_float(key);
}

bool GgufFile::get_bool(std::string_view key, bool fallback) const {
  const GgufKeyValue* kv = find(key);
  if (kv == nullptr) return fallback;
  const auto* value = std::get_if<bool>(&kv->value);
  if (value == nullptr) fail_value(*kv, "a bool");
  return *value;
}

std::string_view GgufFile::get_string(std::string_view key) const {
  const GgufKeyValue& kv = require(key);
  const auto* value = std::get_if<std::string_view>(&kv.value);
  if (value == nullptr) fail_value(kv, "a string");
  return *value;
}

std::string_view GgufFile::get_string(std::string_view key, std::string_view fallback) const {
  return find(key) == nullptr ? fallback : get_string(key);
}

const std::vector<std::string_view>* GgufFile::get_strings(std::string_view key) const {
  const GgufKeyValue* kv = find(key);
  if (kv == nullptr) return nullptr;
  const auto* array = std::get_if<GgufArray>(&kv->value);
  if (array == nullptr || array->element_type != GgufType::string) fail_value(*kv, "an array of strings");
  return &array->strings;
}

std::optional<std::vector<float>> GgufFile::get_floats(std::string_view key) const {
  const GgufKeyValue* kv = find(key);
  if (kv == nullptr) return std::nullopt;
  const auto* array = std::get_if<GgufArray>(&kv->value);
  std::vector<float> values;
  if (array != nullptr) values.reserve(array->bytes.empty() ? 0 : array->count);
  if (array == nullptr || !visit_numbers(*array, [&](auto x) { values.push_back(static_cast<float>(x)); })) {
    fail_value(*kv, "an array of numbers");
  }
  return values;
}

std::optional<std::vector<int64_t>> GgufFile::get_ints(std::string_view key) const {
  const GgufKeyValue* kv = find(key);
  if (kv == nullptr) return std::nullopt;
  const auto* array = std::get_if<GgufArray>(&kv->value);
  std::vector<int64_t> values;
  if (array != nullptr) values.reserve(array->bytes.empty() ? 0 : array->count);
  bool fits = true;
  const auto keep = [&](auto x) {
    using T = decltype(x);
    if constexpr (std::is_floating_point_v<T>) {
      fits = false;
    } else {
      if constexpr (std::is_same_v<T, uint64_t>) fits &= x <= uint64_t{std::numeric_limits<int64_t>::max()};
      values.push_back(static_cast<int64_t>(x));
    }
  };
  if (array == nullptr || !visit_numbers(*array, keep) || !fits) fail_value(*kv, "an array of 64-bit integers");
  return values;
}

}  // namespace thimble
