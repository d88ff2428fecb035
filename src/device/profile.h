// Device profiles: what a phone lends an app, and its speeds, as read from TOML (devices/*.toml).
#pragma once

#include <cstdint>
#include <string>

namespace thimble {

struct DeviceProfile {
  std::string name;
  std::string description;
  uint64_t app_memory_bytes = 0;       // what the system lends one app before it kills it
  double memory_bandwidth_gb_s = 0;    // sustained read bandwidth of the decode cores, 1e9 bytes/s
  double bandwidth_efficiency = 0;     // share of it that decode reaches, 0..1
  double int8_gops = 0;                // sustained int8 throughput of prefill, 1e9 multiply-accumulates x 2 per s
  double compute_efficiency = 0;       // share of it that prefill reaches, 0..1
  double watts_idle = 0;               // drawn while the model is resident, nothing computed
  double pj_per_byte = 0;              // energy per byte read from memory, picojoule
  double pj_per_op = 0;                // energy per int8 operation, picojoule
  double watts_limit = 0;              // what the device sustains; 0: unknown
  int64_t context = 2048;              // context the plan is made for
  double min_decode_tokens_per_s = 0;  // floor for squeeze; 0: none
  std::string source;                  // where the numbers come from
};

/// Errors: not_found, corrupt (line, key). The name "host" is measured on the spot.
DeviceProfile read_device_profile(const std::string& path_or_host);

/// Measures bandwidth and int8 throughput of this machine with `n_threads` threads for about a second.
DeviceProfile measure_host(int n_threads);

/// Sequential read bandwidth in bytes per second over a buffer far larger than the caches.
double measure_read_bandwidth(int n_threads);

}  // namespace thimble
