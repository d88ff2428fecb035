// thimble eval --gate: runs the rules on finished evaluations and says what came of them.
#pragma once

#include <span>
#include <string>

#include "base/json.h"
#include "eval/gate.h"

namespace thimble::cli {

struct GateRun {
  Json json;         // [{model, baseline, outcome, checks: [...]}]
  std::string text;  // for people
  int exit_code = 0;
};

/// Reads rules and baseline, for their errors.
void check_gate_files(const std::string& rules_path);

/// Holds every model against the rules in `rules_path`. Exit code: kExitGateFailed when one fails; kExitCannotTell when
/// none fails, one cannot be told and the rules say cannot_tell = "fail"; else 0. Errors: as read_gate_rules,
/// read_scored_model and run_gate.
GateRun run_gates(const std::string& rules_path, std::span<const ScoredModel> models);

}  // namespace thimble::cli
