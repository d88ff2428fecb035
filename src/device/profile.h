// Device profiles: what a phone lends an app, and its speeds, as read from TOML (devices/*.toml). docs/DEVICES.md says
// where each number is from and what the model was checked against.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/tensor_type.h"

namespace thimble {

struct DeviceProfile {
  std::string name;
  std::string description;
  uint64_t app_memory_bytes = 0;       // what the system lends one app before it kills it
  double memory_bandwidth_gb_s = 0;    // peak read bandwidth, 1e9 bytes/s
  double bandwidth_efficiency = 0;     // share of it that decode reaches, 0..1
  double int8_gops = 0;                // int8 throughput, 1e9 operations per s (a multiply-accumulate is two)
  double compute_efficiency = 0;       // share of it that prefill reaches, 0..1
  double watts_idle = 0;               // drawn while the model is resident, nothing computed
  double pj_per_byte = 0;              // energy per byte read from memory, picojoule
  double pj_per_op = 0;                // energy per int8 operation, picojoule
  double watts_limit = 0;              // what the device sustains; 0: unknown
  int64_t context = 2048;              // context the plan is made for
  double min_decode_tokens_per_s = 0;  // floor for squeeze; 0: none
  std::vector<TensorType> fast_types;  // with kernels that reach the speeds above; empty: all
  std::string source;                  // where the numbers come from

  /// Bytes per second decode reads, operations per second prefill computes.
  double decode_bytes_per_s() const noexcept { return memory_bandwidth_gb_s * 1e9 * bandwidth_efficiency; }
  double prefill_ops_per_s() const noexcept { return int8_gops * 1e9 * compute_efficiency; }
};

/// Errors: as TomlTable::read; corrupt (file, line, key). The name "host" is measured on the spot, on every usable
/// processor.
DeviceProfile read_device_profile(const std::string& path_or_host);

/// As read_device_profile, from text. `source` names it in errors.
DeviceProfile parse_device_profile(std::string_view text, const std::string& source);

/// Measures bandwidth, decode efficiency and int8 throughput of this machine with `n_threads` threads, in about a
/// second. Watts cannot be measured here: 0, unknown. Errors: invalid_argument (n_threads), resource_exhausted.
DeviceProfile measure_host(int n_threads);

}  // namespace thimble
