// Gate results as JSON and text.
#include "gate_report.h"

#include <fmt/format.h>

#include "exit_codes.h"

namespace thimble::cli {

namespace {

Json to_json(const GateReport& r) {
  Json checks = Json::array();
  for (const GateCheck& c : r.checks) {
    checks.push_back({{"task", c.task},
                      {"metric", std::string(metric_name(c.metric))},
                      {"margin", c.margin},
                      {"items", c.items},
                      {"difference", c.difference},
                      {"low", c.low},
                      {"high", c.high},
                      {"p_pass", c.p_pass},
                      {"p_fail", c.p_fail},
                      {"items_needed", c.items_needed ? Json(*c.items_needed) : Json()},
                      {"outcome", std::string(gate_outcome_name(c.outcome))}});
  }
  return {{"model", r.model},
          {"baseline", r.baseline},
          {"outcome", std::string(gate_outcome_name(r.outcome))},
          {"checks", checks}};
}

std::string_view word(GateOutcome outcome) {
  return outcome == GateOutcome::cannot_tell ? "cannot tell" : gate_outcome_name(outcome);
}

std::string to_text(const GateReport& r) {
  std::string out = fmt::format("\ngate: {} against {}: {}\n", r.model, r.baseline, word(r.outcome));
  for (const GateCheck& c : r.checks) {
    out += fmt::format("  {:<16} {:<16} {:>+7.2f} ({:+.2f} to {:+.2f}), margin {}: {}", c.task, metric_name(c.metric),
                       c.difference, c.low, c.high, c.margin, word(c.outcome));
    if (c.outcome == GateOutcome::cannot_tell) {
      out += c.items_needed ? fmt::format("; about {} items would decide ({} now)", *c.items_needed, c.items)
                            : fmt::format("; no realistic number of items would decide ({} now)", c.items);
    }
    out += '\n';
  }
  return out;
}

}  // namespace

void check_gate_files(const std::string& rules_path) {
  const GateRules rules = read_gate_rules(rules_path);
  (void)read_scored_model(rules.baseline, rules.candidate);
}

GateRun run_gates(const std::string& rules_path, std::span<const ScoredModel> models) {
  const GateRules rules = read_gate_rules(rules_path);
  const ScoredModel baseline = read_scored_model(rules.baseline, rules.candidate);
  GateRun out;
  out.json = Json::array();
  for (const ScoredModel& model : models) {
    const GateReport report = run_gate(rules, model, baseline);
    out.json.push_back(to_json(report));
    out.text += to_text(report);
    if (report.outcome == GateOutcome::fail) out.exit_code = kExitGateFailed;
    const bool open = report.outcome == GateOutcome::cannot_tell && rules.cannot_tell_fails;
    if (open && out.exit_code == kExitOk) out.exit_code = kExitCannotTell;
  }
  return out;
}

}  // namespace thimble::cli
