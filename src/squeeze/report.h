// What a squeeze leaves for people (report.html, self-contained; report.md, for reviews) and for machines
// (report.json).
#pragma once

#include <string>
#include <vector>

#include "squeeze/squeeze.h"

namespace thimble {

/// One HTML document: inline style, SVG and one small script (search), which its content security policy names by hash;
/// nothing loaded from anywhere; every text from outside escaped; whole without the script.
std::string report_html(const SqueezeResult& result);

/// One JSON document, schema in docs/EVALUATION.md.
std::string report_json(const SqueezeResult& result);

/// Verdict, tables and how to reproduce, as GitHub-flavoured Markdown. Texts from outside cannot break out of a cell.
std::string report_markdown(const SqueezeResult& result);

/// An item that a candidate answered worse than the float model.
struct WorstItem {
  size_t task = 0, item = 0;  // indices into SqueezeResult::tasks and their items
  double lost = 0;            // points of the primary metric
};
/// The items a candidate lost most on, worst first, at most `n`; items of equal loss in order of task and item.
std::vector<WorstItem> worst_items(const Candidate& candidate, const Candidate& baseline, size_t n);

/// Command line that gives this result again.
std::string reproduce_command(const SqueezeOptions& options);

}  // namespace thimble
