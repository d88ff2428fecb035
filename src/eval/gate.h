// The gate of a build: is a model worse than the last release by more than a margin? Decided by paired item scores,
// with the tests of paired_tests.h.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "eval/scored_model.h"

namespace thimble {

enum class GateOutcome {
  pass,         // shown to lose less than the margin
  fail,         // shown to lose more
  cannot_tell,  // neither
};
/// "pass", "fail", "cannot_tell".
std::string_view gate_outcome_name(GateOutcome outcome) noexcept;

struct GateRule {
  std::string task;              // every task of the baseline when empty
  std::optional<Metric> metric;  // the task's primary one when empty
  double margin = 1.0;           // points
};

struct GateRules {
  std::string source;     // the rules' file
  std::string baseline;   // results.json or report.json of the last release
  std::string candidate;  // which model of the baseline; empty: the picked or only one
  double confidence = 0.95;
  bool cannot_tell_fails = false;
  std::vector<GateRule> rules;  // at least one
};

/// Reads rules.toml:
///   baseline = "results.json" (relative to the rules), candidate = "name", margin = 1.0, confidence = 0.95,
///   cannot_tell = "pass" or "fail", [[rule]] task = "menu", metric = "chrf2", margin = 2.0.
/// Without a [[rule]] every task's primary metric is held against `margin`. Errors: as TomlTable::read; corrupt, naming
/// file, line and key, for unknown keys and values out of range.
GateRules read_gate_rules(const std::string& path);

struct GateCheck {
  std::string task;
  Metric metric = Metric::exact;
  double margin = 0;
  size_t items = 0;
  double difference = 0, low = 0, high = 0;  // model - baseline, points
  double p_pass = 1, p_fail = 1;             // one-sided; p_fail Holm-adjusted over the checks
  std::optional<int64_t> items_needed;       // where it cannot tell
  GateOutcome outcome = GateOutcome::cannot_tell;
};

struct GateReport {
  std::string model, baseline;  // names
  std::vector<GateCheck> checks;
  GateOutcome outcome = GateOutcome::pass;  // fail if any fails; cannot_tell if none fails and any cannot tell
};

/// Errors: not_found when a rule names a task or metric that one of the two lacks; invalid_argument when the items
/// differ (named).
GateReport run_gate(const GateRules& rules, const ScoredModel& model, const ScoredModel& baseline);

}  // namespace thimble
