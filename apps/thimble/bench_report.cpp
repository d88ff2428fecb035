#include "bench_report.h"

#include <fmt/format.h>

#include <algorithm>

namespace thimble::cli {

namespace {

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

Json summary(const std::vector<double>& all) {
  return {{"median", median(all)}, {"worst", *std::min_element(all.begin(), all.end())}, {"all", all}};
}

Json speed(const Json& n, const std::vector<double>& all) {
  Json out = summary(all);
  out["n"] = n;
  return out;
}

void print_speed(const char* label, const Json& speed) {
  if (speed.is_null()) return;
  fmt::print("{:<22}{:.1f} t/s for {} tokens, worst {:.1f} (", label, speed["median"].get<double>(),
             speed["n"].get<int64_t>(), speed["worst"].get<double>());
  for (size_t i = 0; i < speed["all"].size(); ++i) {
    fmt::print("{}{:.1f}", i == 0 ? "" : " ", speed["all"][i].get<double>());
  }
  fmt::print(")\n");
}

double megabytes(const Json& bytes) {
  return bytes.get<double>() / 1e6;
}

}  // namespace

void add_speeds(Json& report, const std::vector<BenchRepetition>& repetitions) {
  const auto bytes = report["weight_bytes_per_token"].get<double>();
  std::vector<double> prefill, decode, bandwidth, region, share;
  for (const BenchRepetition& r : repetitions) {
    if (r.prefill > 0) prefill.push_back(r.prefill);
    if (r.decode > 0) decode.push_back(r.decode);
    if (r.decode > 0) share.push_back(bytes * r.decode / r.bandwidth);
    bandwidth.push_back(r.bandwidth / 1e9);
    region.push_back(r.region_seconds * 1e6);
  }
  report["prefill_tokens_per_s"] = prefill.empty() ? Json(nullptr) : speed(report["n_prompt"], prefill);
  report["decode_tokens_per_s"] = decode.empty() ? Json(nullptr) : speed(report["n_generate"], decode);
  report["read_bandwidth_gb_per_s"] = summary(bandwidth);
  // One thread opens no region: it calls.
  report["region_us"] = report["threads"] == 1 ? Json(nullptr) : Json(median(region));
  if (share.empty()) return;
  report["weight_gb_per_s"] = bytes * median(decode) / 1e9;
  report["bandwidth_share"] = summary(share);
}

void print_bench(const Json& r) {
  fmt::print("{:<22}{}{}\n", "model", r["model"].get<std::string>(),
             r["scheme"].is_null() ? std::string() : fmt::format(" {}", r["scheme"].get<std::string>()));
  fmt::print("{:<22}{}, {}, {} threads, kv {}, after {} tokens of context\n", "machine", r["cpu"].get<std::string>(),
             r["isa"].get<std::string>(), r["threads"].get<int>(), r["kv"].get<std::string>(),
             r["depth"].get<int64_t>());
  fmt::print("{:<22}", "kernels");
  for (const Json& name : r["kernels"]) fmt::print("{} ", name.get<std::string>());
  const Json& packed = r["packed"];
  fmt::print("\n{:<22}{:.1f} MB, {:.1f} MB read for each token, {}\n", "weights", megabytes(r["weight_bytes"]),
             megabytes(r["weight_bytes_per_token"]),
             packed.is_null()           ? "not packed"
             : packed["path"].is_null() ? fmt::format("{:.1f} MB packed in memory", megabytes(packed["bytes"]))
                                        : fmt::format("{:.1f} MB packed in {}", megabytes(packed["bytes"]),
                                                      packed["path"].get<std::string>()));
  print_speed("prefill", r["prefill_tokens_per_s"]);
  print_speed("decode", r["decode_tokens_per_s"]);
  const Json& bandwidth = r["read_bandwidth_gb_per_s"];
  fmt::print("{:<22}{:.1f} GB/s measured beside the repetitions", "read bandwidth", bandwidth["median"].get<double>());
  if (r.contains("bandwidth_share")) {
    const Json& share = r["bandwidth_share"];
    fmt::print("; decode reads weights at {:.1f} GB/s: {:.0f} % of it, worst repetition {:.0f} %",
               r["weight_gb_per_s"].get<double>(), 100 * share["median"].get<double>(),
               100 * share["worst"].get<double>());
  }
  if (!r["region_us"].is_null()) {
    fmt::print("\n{:<22}{:.2f} us for all of them to begin and end a region", "threads", r["region_us"].get<double>());
  }
  fmt::print("\n{:<22}{:.2f} s to load, {:.2f} s for the first token\n", "start", r["load_seconds"].get<double>(),
             r["first_token_seconds"].get<double>());
  fmt::print("{:<22}{:.1f} MB at the peak: activations {:.1f}, key/value cache {:.1f}; in huge pages {:.1f}\n",
             "memory", megabytes(r["peak_rss_bytes"]), megabytes(r["activation_bytes"]), megabytes(r["kv_bytes"]),
             megabytes(r["huge_page_bytes"]));
}

}  // namespace thimble::cli
