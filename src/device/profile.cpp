// Reads device profiles. Every number has a range wide enough for any phone or server, so that a slip of the unit
// (megabytes for bytes, watts for milliwatts) is an error and not a plan.
#include "device/profile.h"

#include <filesystem>

#include "base/cpu_topology.h"
#include "base/error.h"
#include "base/file.h"
#include "base/toml.h"

namespace thimble {

namespace {

constexpr uint64_t kMaxProfileBytes = 1 << 20;

struct Range {
  double min, max;
};

double number(const TomlTable& table, std::string_view key, Range range) {
  const double value = table.number(key);
  if (value < range.min || value > range.max) {
    fail(ErrorCode::corrupt, "{}: line {}: key '{}': found {}, expected {} to {}", table.source(), table.line(), key,
         value, range.min, range.max);
  }
  return value;
}

double number(const TomlTable& table, std::string_view key, Range range, double fallback) {
  return table.has(key) ? number(table, key, range) : fallback;
}

std::vector<TensorType> types(const TomlTable& table, std::string_view key) {
  std::vector<TensorType> out;
  for (const std::string& name : table.strings(key)) {
    const TypeTraits* type = find_type(std::string_view(name));
    if (type == nullptr || type->encode == nullptr) {
      fail(ErrorCode::corrupt, "{}: line {}: key '{}': found '{}', expected types of weights such as q4_k",
           table.source(), table.line(), key, name);
    }
    out.push_back(type->type);
  }
  return out;
}

}  // namespace

DeviceProfile parse_device_profile(std::string_view text, const std::string& source) {
  const TomlTable table = TomlTable::parse(text, source);
  table.only({"name", "description", "app_memory_bytes", "memory_bandwidth_gb_s", "bandwidth_efficiency", "int8_gops",
              "compute_efficiency", "watts_idle", "pj_per_byte", "pj_per_op", "watts_limit", "context",
              "min_decode_tokens_per_s", "fast_types", "source"});
  constexpr Range kShare{0.01, 1.0};
  DeviceProfile p;
  p.name = table.string("name", std::filesystem::path(source).stem().string());
  p.description = table.string("description", "");
  // 64 MiB: less holds no model, and catches a value meant in megabytes.
  p.app_memory_bytes = static_cast<uint64_t>(table.integer("app_memory_bytes", int64_t{64} << 20, int64_t{1} << 46));
  p.memory_bandwidth_gb_s = number(table, "memory_bandwidth_gb_s", {0.1, 1e5});
  p.bandwidth_efficiency = number(table, "bandwidth_efficiency", kShare);
  p.int8_gops = number(table, "int8_gops", {0.1, 1e7});
  p.compute_efficiency = number(table, "compute_efficiency", kShare);
  p.watts_idle = number(table, "watts_idle", {0.0, 1e4}, 0.0);
  p.pj_per_byte = number(table, "pj_per_byte", {0.0, 1e5}, 0.0);
  p.pj_per_op = number(table, "pj_per_op", {0.0, 1e5}, 0.0);
  p.watts_limit = number(table, "watts_limit", {0.0, 1e4}, 0.0);
  p.context = table.integer("context", 1, int64_t{1} << 31, p.context);
  p.min_decode_tokens_per_s = number(table, "min_decode_tokens_per_s", {0.0, 1e6}, 0.0);
  p.fast_types = types(table, "fast_types");
  p.source = table.string("source", "");
  return p;
}

DeviceProfile read_device_profile(const std::string& path_or_host) {
  if (path_or_host == "host") return measure_host(usable_cpu_count());
  return parse_device_profile(read_file(path_or_host, kMaxProfileBytes), path_or_host);
}

}  // namespace thimble
