// report.md: for pull requests and terminals. Only names, numbers and the verdict: answers stay in the other two.
#include "base/error.h"
#include "squeeze/headline.h"
#include "squeeze/html_text.h"
#include "squeeze/report.h"
#include "squeeze/report_text.h"
#include "squeeze/standings.h"

namespace thimble {

namespace {

// A text from outside on one line, without what Markdown or HTML would act on.
std::string plain(const std::string& text) {
  std::string out;
  for (const char c : html_escape(text)) {
    if (c == '\n' || c == '\t') {
      out += ' ';
    } else if (std::string_view("|*_`[]\\").find(c) != std::string_view::npos) {
      out += '\\';
      out += c;
    } else {
      out += c;
    }
  }
  return out;
}

std::string difference(const PairedDifference& d) {
  return fmt::format("{} ({})", signed_points(d.mean), interval_text(d.low, d.high));
}

std::string candidates_table(const SqueezeResult& r) {
  std::string out =
      "| candidate | file | memory | tokens/s | score | against float | margin | perplexity | KL | KL on answers | "
      "answers changed |\n"
      "|---|--:|--:|--:|--:|--:|---|--:|--:|--:|--:|\n";
  const auto row = [&](const Candidate& c, bool is_float, bool picked) {
    const bool kl = c.fidelity && c.fidelity->divergence;
    const std::optional<PooledFidelity> answers = pool_fidelity(c.on_answers);
    const std::string name = is_float ? "float" : plain(c.recipe.name);
    out += fmt::format("| {} | {} | {} | {:.0f} | {:.1f} ({:.1f} to {:.1f}) | {} | {} | {} | {} | {} | {} |\n",
                       picked ? fmt::format("**{}**", name) : name, format_bytes(c.file_bytes),
                       format_bytes(c.plan.total_bytes), c.plan.decode_tokens_per_s, c.score.mean, c.score.low,
                       c.score.high, is_float ? "" : difference(c.against_float),
                       is_float ? "" : standing_name(c.standing),
                       c.fidelity ? fmt::format("{:.3f}", c.fidelity->perplexity.perplexity) : "",
                       kl ? kl_text(c.fidelity->divergence->mean_kl) : "", answers ? kl_text(answers->mean_kl) : "",
                       answers ? of_text(answers->flipped_items, answers->n_items) : "");
  };
  row(r.baseline, true, false);
  for (const size_t i : scored_by_size(r)) row(r.candidates[i], false, is_picked(r, i));
  return out;
}

std::string task_markdown(const SqueezeResult& r, size_t t) {
  std::string out = fmt::format("\n### {} ({}, {} items)\n\n", plain(r.tasks[t].name), metric_name(r.tasks[t].primary),
                                r.tasks[t].items.size());
  out +=
      "| candidate | points | against float | p | flips | would be found | items to decide |\n"
      "|---|--:|--:|--:|---|--:|---|\n";
  out += fmt::format("| float | {:.1f} | | | | | |\n", mean_points(r.baseline.tasks[t]));
  for (const size_t i : scored_by_size(r)) {
    const Candidate& c = r.candidates[i];
    const TaskComparison& made = c.comparisons[t];
    out +=
        fmt::format("| {} | {:.1f} | {} | {} | {} | {:.1f} | {} |\n", plain(c.recipe.name), mean_points(c.tasks[t]),
                    difference(c.task_differences[t]), plain(p_text(made.p_different)), plain(flips_text(made.flips)),
                    made.detectable, items_needed_text(made, c.tasks[t].items.size()));
  }
  return out;
}

}  // namespace

std::string report_markdown(const SqueezeResult& r) {
  std::string out = fmt::format("# {} for {}\n\n**{}**\n\n{}\n", plain(r.model_name), plain(r.device.name),
                                plain(verdict_title(r)), plain(r.explanation));
  for (const OrderAgreement& o : r.order_agreement) {
    if (o.task.empty()) out += fmt::format("\n{}\n", plain(describe_agreement(o, r.options.confidence)));
  }
  if (!r.baseline.tasks.empty()) {
    out += "\n## Candidates\n\n" + candidates_table(r) + "\n## Tasks\n";
    for (size_t t = 0; t < r.tasks.size(); ++t) out += task_markdown(r, t);
  }
  out += fmt::format("\nCalibration: {}.\n", r.calibrated_on.empty() ? "none" : plain(r.calibrated_on));
  std::string excluded;
  for (const Candidate& c : r.candidates) {
    if (!c.excluded.empty()) excluded += fmt::format("* {}: {}\n", plain(c.recipe.name), plain(c.excluded));
  }
  if (!excluded.empty()) out += "\n## Excluded before scoring\n\n" + excluded;
  out += fmt::format(
      "\n## Reproduce\n\n    {}\n\nThimble {}, float model {}. Intervals: {:.0f} %, {} resamples of clusters, seed "
      "{}.\n",
      html_escape(reproduce_command(r.options)), plain(r.version), plain(r.baseline.hash), 100 * r.options.confidence,
      kResamples, kBootstrapSeed);
  return out;
}

}  // namespace thimble
