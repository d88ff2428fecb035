// thimble report: what two runs say about each other.
#include <fmt/format.h>

#include <cstdio>

#include "eval/model_diff.h"
#include "squeeze/report_text.h"
#include "standard_output.h"
#include "verbs.h"

namespace thimble::cli {

namespace {

struct DiffArguments {
  std::string before, after;
  std::string candidate_before, candidate_after;
  size_t items = 5;
  double confidence = 0.95;
};

// Answers on one line, cut: a terminal is no place for whole minutes of a meeting.
std::string one_line(const std::string& text) {
  constexpr size_t kBytes = 160;
  std::string out;
  for (const char c : text) out += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? ' ' : c;
  if (out.size() <= kBytes) return out;
  size_t end = kBytes;
  while (end > 0 && (static_cast<unsigned char>(out[end]) & 0xC0) == 0x80) --end;  // between code points
  return out.substr(0, end) + " ...";
}

void print_task(const TaskDiff& t) {
  fmt::print("{:<16} {:<16} {:>5} items  {:>6.2f} -> {:>6.2f}  {:>+6.2f} ({:+.2f} to {:+.2f}), p {}\n", t.task,
             metric_name(t.metric), t.items, t.before, t.after, t.difference.mean, t.difference.low, t.difference.high,
             p_text(t.p));
  fmt::print("  {} worse, {} better; flips: {} lost, {} gained (p {})\n", t.worse, t.better, t.flips.lost,
             t.flips.gained, p_text(t.flips.p));
  for (const ItemChange& c : t.changes) {
    fmt::print("  {}: {:.0f} -> {:.0f}\n    - {}\n    + {}\n", c.id, c.before, c.after, one_line(c.answer_before),
               one_line(c.answer_after));
  }
}

void print_diff(const ModelDiff& diff) {
  fmt::print("{} -> {}\n", diff.before, diff.after);
  for (const TaskDiff& t : diff.tasks) print_task(t);
  for (const std::string& name : diff.only_before) fmt::print("{}: only in the first\n", name);
  for (const std::string& name : diff.only_after) fmt::print("{}: only in the second\n", name);
}

void run_diff(const DiffArguments& a, const Context& context) {
  const ScoredModel before = read_scored_model(a.before, a.candidate_before);
  const ScoredModel after = read_scored_model(a.after, a.candidate_after);
  const ModelDiff diff = diff_models(before, after, a.confidence, a.items);
  print_checked([&] {
    if (context.json) {
      fmt::print("{}\n", model_diff_json(diff).dump(2, ' ', false, Json::error_handler_t::replace));
    } else {
      print_diff(diff);
    }
  });
}

}  // namespace

void add_report(CLI::App& app, Context& context) {
  CLI::App* verb = app.add_subcommand("report", "Work with reports of squeeze and results of eval");
  verb->require_subcommand(1);
  CLI::App* diff = verb->add_subcommand("diff", "Compare two report.json or results.json, item by item");
  auto a = std::make_shared<DiffArguments>();
  diff->add_option("before", a->before, "report.json or results.json")->required();
  diff->add_option("after", a->after, "report.json or results.json")->required();
  diff->add_option("--candidate-a", a->candidate_before,
                   "model of the first file: a name, or 'float' (default: the picked or only one)");
  diff->add_option("--candidate-b", a->candidate_after, "model of the second file");
  diff->add_option("--items", a->items, "answers shown for each task (default 5)")->check(CLI::Range(0, 100000));
  diff->add_option("--confidence", a->confidence, "of the intervals")->check(CLI::Range(0.5, 0.9999));
  diff->callback([a, &context] { run_diff(*a, context); });
}

}  // namespace thimble::cli
