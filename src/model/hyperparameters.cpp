// Range checks live here once, so that every message names file, key, what was found and what was expected.
#include "model/hyperparameters.h"

#include <cmath>

#include "base/error.h"

namespace thimble {

std::string HyperparameterReader::key(std::string_view suffix) const {
  return fmt::format("{}.{}", architecture_, suffix);
}

bool HyperparameterReader::has(std::string_view suffix) const {
  return gguf_->find(key(suffix)) != nullptr;
}

void HyperparameterReader::refuse_array(std::string_view suffix) const {
  const std::string name = key(suffix);
  const GgufKeyValue* entry = gguf_->find(name);
  if (entry != nullptr && entry->type() == GgufType::array) {
    fail(ErrorCode::unsupported, "{}: key {}: found an array (one value per layer), expected one number for all layers",
         gguf_->source(), name);
  }
}

int64_t HyperparameterReader::integer(std::string_view suffix, int64_t min, int64_t max) const {
  refuse_array(suffix);
  return static_cast<int64_t>(gguf_->get_uint(key(suffix), static_cast<uint64_t>(min), static_cast<uint64_t>(max)));
}

int64_t HyperparameterReader::integer(std::string_view suffix, int64_t min, int64_t max, int64_t fallback) const {
  return has(suffix) ? integer(suffix, min, max) : fallback;
}

float HyperparameterReader::number(std::string_view suffix, double min, double max) const {
  refuse_array(suffix);
  const std::string name = key(suffix);
  const double value = gguf_->get_float(name);
  if (!std::isfinite(value) || value < min || value > max) {
    fail(ErrorCode::corrupt, "{}: key {}: found {}, expected a number from {} to {}", gguf_->source(), name, value, min,
         max);
  }
  return static_cast<float>(value);
}

float HyperparameterReader::number(std::string_view suffix, double min, double max, double fallback) const {
  return has(suffix) ? number(suffix, min, max) : static_cast<float>(fallback);
}

std::string_view HyperparameterReader::text(std::string_view suffix, std::string_view fallback) const {
  return gguf_->get_string(key(suffix), fallback);
}

}  // namespace thimble
