// thimble inspect FILE: what a GGUF file holds, how large it is per weight, and whether stock llama.cpp can load it.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <type_traits>

#include "base/error.h"
#include "base/json.h"
#include "format/byte_reader.h"
#include "format/gguf.h"
#include "format/gguf_summary.h"
#include "packing.h"
#include "standard_output.h"
#include "verbs.h"

namespace thimble::cli {

namespace {

constexpr uint64_t kShownElements = 6;  // of a long array
constexpr size_t kShownBytes = 80;      // of a long string

struct InspectOptions {
  std::string path;
  bool tensors = false;
};

std::string quoted(std::string_view text) {
  return fmt::format("\"{}\"", printable(text, kShownBytes));
}

template <typename T>
GgufScalar element_as(const GgufArray& array, uint64_t i) {
  T value;
  std::memcpy(&value, array.bytes.data() + i * sizeof(T), sizeof(T));
  return GgufScalar(std::in_place_type<T>, value);
}

GgufScalar element(const GgufArray& array, uint64_t i) {
  switch (array.element_type) {
    case GgufType::u8:
      return element_as<uint8_t>(array, i);
    case GgufType::i8:
      return element_as<int8_t>(array, i);
    case GgufType::u16:
      return element_as<uint16_t>(array, i);
    case GgufType::i16:
      return element_as<int16_t>(array, i);
    case GgufType::u32:
      return element_as<uint32_t>(array, i);
    case GgufType::i32:
      return element_as<int32_t>(array, i);
    case GgufType::f32:
      return element_as<float>(array, i);
    case GgufType::boolean:
      return GgufScalar(std::in_place_type<bool>, array.bytes[i] == std::byte{1});
    case GgufType::string:
      return GgufScalar(std::in_place_type<std::string_view>, array.strings[i]);
    case GgufType::u64:
      return element_as<uint64_t>(array, i);
    case GgufType::i64:
      return element_as<int64_t>(array, i);
    case GgufType::f64:
      return element_as<double>(array, i);
    case GgufType::array:
      break;  // the parser refuses arrays of arrays
  }
  return GgufScalar();
}

std::string value_text(const GgufScalar& value) {
  return std::visit(
      [](const auto& v) -> std::string {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, std::string_view>) {
          return quoted(v);
        } else if constexpr (std::is_same_v<T, GgufArray>) {
          std::string out = "[";
          for (uint64_t i = 0; i < std::min(v.count, kShownElements); ++i) {
            out += (i == 0 ? "" : ", ") + value_text(element(v, i));
          }
          return out + (v.count > kShownElements ? fmt::format(", ... {} in all]", v.count) : "]");
        } else {
          return fmt::format("{}", v);
        }
      },
      value);
}

std::string type_text(const GgufKeyValue& kv) {
  const auto* array = std::get_if<GgufArray>(&kv.value);
  return array == nullptr ? std::string(gguf_type_name(kv.type()))
                          : fmt::format("{}[{}]", gguf_type_name(array->element_type), array->count);
}

// A JSON value; NaN and infinity, which JSON lacks, become null, and text that is not UTF-8 is made printable.
Json value_json(const GgufScalar& value) {
  return std::visit(
      [](const auto& v) -> Json {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, std::string_view>) {
          return is_utf8(v) ? std::string(v) : printable(v, v.size());
        } else if constexpr (std::is_same_v<T, GgufArray>) {
          Json shown = Json::array();
          for (uint64_t i = 0; i < std::min(v.count, kShownElements); ++i) shown.push_back(value_json(element(v, i)));
          return {{"element_type", gguf_type_name(v.element_type)}, {"count", v.count}, {"first", shown}};
        } else if constexpr (std::is_floating_point_v<T>) {
          return std::isfinite(v) ? Json(v) : Json();
        } else {
          return v;
        }
      },
      value);
}

std::string shape_text(const GgufTensor& tensor) {
  std::string out = fmt::format("{}", tensor.view.ne[0]);
  for (uint32_t d = 1; d < tensor.n_dims; ++d) out += fmt::format(" x {}", tensor.view.ne[d]);
  return out;
}

Json inspect_json(const GgufFile& file, const GgufSummary& summary) {
  Json metadata = Json::object();
  for (const GgufKeyValue& kv : file.metadata()) {
    metadata[std::string(kv.key)] = {{"type", gguf_type_name(kv.type())}, {"value", value_json(kv.value)}};
  }
  Json tensors = Json::array();
  for (const GgufTensor& t : file.tensors()) {
    Json shape = Json::array();
    for (uint32_t d = 0; d < t.n_dims; ++d) shape.push_back(t.view.ne[d]);
    tensors.push_back({{"name", t.name},
                       {"type", traits(t.view.type).name},
                       {"shape", std::move(shape)},
                       {"bytes", t.view.data.size()}});
  }
  Json by_type = Json::array();
  for (const GgufTypeTotals& t : summary.by_type) {
    by_type.push_back(
        {{"type", traits(t.type).name}, {"tensors", t.n_tensors}, {"weights", t.elements}, {"bytes", t.bytes}});
  }
  const auto* architecture = file.find("general.architecture");
  return {{"file", file.source()},
          {"file_bytes", file.file_bytes()},
          {"gguf_version", file.version()},
          {"alignment", file.alignment()},
          {"architecture", architecture == nullptr ? Json() : value_json(architecture->value)},
          {"metadata", std::move(metadata)},
          {"tensors", std::move(tensors)},
          {"types", std::move(by_type)},
          {"weights", summary.totals.elements},
          {"tensor_bytes", summary.totals.bytes},
          {"bits_per_weight", summary.totals.bits_per_weight()},
          {"body_bits_per_weight", summary.totals.body_bits_per_weight()},
          {"outlier_branch",
           {{"matrices", summary.outliers.n_matrices},
            {"channels", summary.outliers.n_channels},
            {"bytes", summary.outliers.bytes}}},
          {"packed", describe_packed(file)},
          {"stock_llama_cpp", {{"loads", summary.stock_obstacles.empty()}, {"obstacles", summary.stock_obstacles}}}};
}

void print_packed(const GgufFile& file) {
  const Json packed = describe_packed(file);
  bool any = false;
  for (const Json& p : packed) {
    if (p["state"] == "missing") continue;
    any = true;
    const auto reason = p["reason"].get<std::string>();
    const auto path = p["path"].get<std::string>();
    fmt::print("Packed weights: {}\n",
               reason.empty() ? fmt::format("{}: valid, {} bytes", path, p["bytes"].get<uint64_t>()) : reason);
  }
  if (!any && !packed.empty()) fmt::print("Packed weights: none for this processor\n");
}

void print_text(const GgufFile& file, const GgufSummary& summary, bool with_tensors) {
  const auto* architecture = file.find("general.architecture");
  fmt::print("{}\n", file.source());
  fmt::print("  GGUF version {}, {} bytes, alignment {}\n", file.version(), file.file_bytes(), file.alignment());
  fmt::print("  architecture {}\n", architecture == nullptr ? "(none)" : value_text(architecture->value));
  fmt::print("\nMetadata ({} keys)\n", file.metadata().size());
  for (const GgufKeyValue& kv : file.metadata()) {
    fmt::print("  {:<40} {:<15} {}\n", printable(kv.key), type_text(kv), value_text(kv.value));
  }
  fmt::print("\nTensors ({})\n", file.tensors().size());
  for (const GgufTensor& t : file.tensors()) {
    if (!with_tensors) break;
    fmt::print("  {:<40} {:<7} {:<20} {:>12} bytes\n", printable(t.name), traits(t.view.type).name, shape_text(t),
               t.view.data.size());
  }
  for (const GgufTypeTotals& t : summary.by_type) {
    fmt::print("  {:<7} {:>5} tensors {:>14} weights {:>14} bytes\n", traits(t.type).name, t.n_tensors, t.elements,
               t.bytes);
  }
  const GgufTotals& totals = summary.totals;
  fmt::print("  total   {:>5} tensors {:>14} weights {:>14} bytes\n", file.tensors().size(), totals.elements,
             totals.bytes);
  fmt::print("\nBits per weight: {:.3f} in all, {:.3f} in the body (without token_embd.weight and output.weight)\n",
             totals.bits_per_weight(), totals.body_bits_per_weight());
  if (const GgufOutliers& o = summary.outliers; o.n_matrices > 0) {
    fmt::print("Outlier branch: {} channels of {} matrices in f16, {} bytes\n", o.n_channels, o.n_matrices, o.bytes);
  }
  print_packed(file);
  if (summary.stock_obstacles.empty()) {
    fmt::print("Stock llama.cpp: can load it (nothing found against it)\n");
    return;
  }
  fmt::print("Stock llama.cpp: cannot load it\n");
  for (const std::string& reason : summary.stock_obstacles) fmt::print("  {}\n", reason);
}

}  // namespace

void add_inspect(CLI::App& app, Context& context) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App* verb = app.add_subcommand("inspect", "Show what a GGUF file holds: metadata, tensors, bits per weight");
  verb->add_option("FILE", options->path, "GGUF file, or the first part of a split set")->required();
  verb->add_flag("--tensors", options->tensors, "list every tensor (--json always does)");
  verb->callback([options, &context] {
    const GgufFile file = GgufFile::open(options->path);
    const GgufSummary summary = summarize(file);
    print_checked([&] {
      if (context.json) {
        fmt::print("{}\n", inspect_json(file, summary).dump(2, ' ', false, Json::error_handler_t::replace));
      } else {
        print_text(file, summary, options->tensors);
      }
    });
  });
}

}  // namespace thimble::cli
