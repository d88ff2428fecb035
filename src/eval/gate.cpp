// Rules and their evaluation.
#include "eval/gate.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/toml.h"
#include "statistics/paired_tests.h"
#include "statistics/statistics.h"
#include "tasks/score.h"

namespace thimble {

namespace {

double read_margin(const TomlTable& table, double fallback) {
  const double margin = table.number("margin", fallback);
  if (margin >= 0 && margin <= kScoreRange) return margin;
  fail(ErrorCode::corrupt, "{}: line {}: key 'margin': found {}, expected 0 to 100 points", table.source(),
       table.line(), margin);
}

GateRule read_rule(const TomlTable& table, double margin) {
  table.only({"task", "metric", "margin"});
  GateRule out;
  out.task = table.string("task", "");
  out.margin = read_margin(table, margin);
  if (!table.has("metric")) return out;
  const std::string name = table.string("metric");
  const MetricRow* row = find_metric(name);
  if (row == nullptr || row->better == Better::neither) {
    fail(ErrorCode::corrupt, "{}: line {}: key 'metric': found '{}', expected a metric of which more or less is better",
         table.source(), table.line(), name);
  }
  out.metric = row->metric;
  return out;
}

const ScoredTask& task_of(const ScoredModel& model, const std::string& name, const GateRules& rules) {
  const ScoredTask* task = find_task(model, name);
  if (task == nullptr) {
    fail(ErrorCode::not_found, "{}: task '{}': {} has no scores of it, expected some", rules.source, name, model.name);
  }
  return *task;
}

GateCheck check_task(const ScoredTask& now, const ScoredTask& before, const GateRule& rule, double confidence) {
  GateCheck out;
  out.task = now.name;
  out.metric = rule.metric.value_or(before.primary);
  out.margin = rule.margin;
  out.items = now.ids.size();
  const std::vector<double> a = points_of(now, out.metric);
  const std::vector<double> b = points_of(in_order_of(now, before), out.metric);
  const PairedDifference d = paired_bootstrap(a, b, now.clusters, confidence, kResamples, kBootstrapSeed);
  out.difference = d.mean;
  out.low = d.low;
  out.high = d.high;
  const PairedSample sample = paired_sample(a, b, now.clusters);
  out.p_pass = p_above(sample, -rule.margin);
  out.p_fail = p_below(sample, -rule.margin);
  out.items_needed = items_to_decide(sample, -rule.margin, (1 - confidence) / 2, kPower);
  return out;
}

}  // namespace

std::string_view gate_outcome_name(GateOutcome outcome) noexcept {
  switch (outcome) {
    case GateOutcome::pass:
      return "pass";
    case GateOutcome::fail:
      return "fail";
    case GateOutcome::cannot_tell:
      return "cannot_tell";
  }
  return "unknown";
}

GateRules read_gate_rules(const std::string& path) {
  const TomlTable table = TomlTable::read(path);
  table.only({"baseline", "candidate", "margin", "confidence", "cannot_tell", "rule"});
  GateRules out;
  out.source = path;
  out.baseline = (std::filesystem::path(path).parent_path() / table.string("baseline")).string();
  out.candidate = table.string("candidate", "");
  out.confidence = table.number("confidence", out.confidence);
  if (!(out.confidence > 0.5 && out.confidence < 1)) {
    fail(ErrorCode::corrupt, "{}: line {}: key 'confidence': found {}, expected a value between 0.5 and 1", path,
         table.line(), out.confidence);
  }
  const std::string cannot_tell = table.string("cannot_tell", "pass");
  if (cannot_tell != "pass" && cannot_tell != "fail") {
    fail(ErrorCode::corrupt, "{}: line {}: key 'cannot_tell': found '{}', expected pass or fail", path, table.line(),
         cannot_tell);
  }
  out.cannot_tell_fails = cannot_tell == "fail";
  const double margin = read_margin(table, 1.0);
  for (const TomlTable& rule : table.tables("rule")) out.rules.push_back(read_rule(rule, margin));
  if (out.rules.empty()) out.rules.push_back({"", std::nullopt, margin});
  return out;
}

GateReport run_gate(const GateRules& rules, const ScoredModel& model, const ScoredModel& baseline) {
  GateReport out;
  out.model = model.name;
  out.baseline = baseline.name;
  for (const GateRule& rule : rules.rules) {
    if (!rule.task.empty()) {
      out.checks.push_back(
          check_task(task_of(model, rule.task, rules), task_of(baseline, rule.task, rules), rule, rules.confidence));
      continue;
    }
    for (const ScoredTask& before : baseline.tasks) {
      out.checks.push_back(check_task(task_of(model, before.name, rules), before, rule, rules.confidence));
    }
  }
  if (out.checks.empty()) fail(ErrorCode::not_found, "{}: found no task to compare, expected some", rules.baseline);
  std::vector<double> worse;
  for (const GateCheck& c : out.checks) worse.push_back(c.p_fail);
  worse = holm(worse);
  const double alpha = (1 - rules.confidence) / 2;
  for (size_t i = 0; i < out.checks.size(); ++i) {
    GateCheck& c = out.checks[i];
    c.p_fail = worse[i];
    // Passing takes every check, so these need no correction: Berger's intersection-union test.
    if (c.p_pass <= alpha) c.outcome = GateOutcome::pass;
    if (c.p_fail <= alpha) c.outcome = GateOutcome::fail;
    if (c.outcome == GateOutcome::fail) out.outcome = GateOutcome::fail;
    if (c.outcome == GateOutcome::cannot_tell && out.outcome == GateOutcome::pass) out.outcome = c.outcome;
  }
  return out;
}

}  // namespace thimble
