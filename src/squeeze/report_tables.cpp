// The tables of report.html.
#include "base/error.h"
#include "squeeze/html_text.h"
#include "squeeze/report_sections.h"
#include "squeeze/report_text.h"
#include "squeeze/standings.h"
#include "tasks/score.h"

namespace thimble {

namespace {

std::string cell(const std::string& value, std::string_view css = "") {
  return fmt::format("<td{}>{}</td>", css.empty() ? "" : fmt::format(" class=\"{}\"", css), value);
}

std::string column(std::string_view title, std::string_view note = "", bool text = false) {
  return fmt::format("<th{} scope=\"col\">{}{}</th>", text ? " class=\"text\"" : "", title,
                     note.empty() ? "" : fmt::format("<br><span class=\"range\">{}</span>", note));
}

std::string table(const std::string& head, const std::string& rows) {
  return "<div class=\"scroll\"><table><thead><tr>" + head + "</tr></thead>\n<tbody>" + rows +
         "</tbody></table></div>\n";
}

// "−1.5 (−3.5 to 0.0)", without the interval where it is a point.
std::string difference_cell(const PairedDifference& d) {
  if (d.low == d.high) return signed_points(d.mean);
  return fmt::format("{} <span class=\"range\">{}</span>", signed_points(d.mean), interval_text(d.low, d.high));
}

std::string kl_cell(double nats, const std::string& note) {
  return cell(fmt::format("{} <span class=\"range\">{}</span>", kl_text(nats), note));
}

std::string candidate_row(const SqueezeResult& r, const Candidate& c, bool is_float, std::string_view css) {
  std::string out =
      fmt::format("<tr class=\"{}\"><th scope=\"row\">{}</th>", css, is_float ? "float" : html_escape(c.recipe.name));
  out +=
      cell(fmt::format("{} <span class=\"range\">{}{}</span>", format_bytes(c.file_bytes),
                       format_bytes(c.plan.total_bytes), c.plan.fits ? "" : " <span class=\"loses\">too big</span>"));
  out += cell(fmt::format("{:.2f} <span class=\"range\">{:.2f}</span>", c.bits_per_weight, c.body_bits_per_weight));
  out += cell(
      fmt::format("{:.0f} <span class=\"range\">{:.1f} W</span>", c.plan.decode_tokens_per_s, c.plan.decode_watts));
  out += cell(
      fmt::format("{:.1f} <span class=\"range\">{:.1f} to {:.1f}</span>", c.score.mean, c.score.low, c.score.high));
  out += is_float ? cell("") : cell(difference_cell(c.against_float));
  out += is_float ? cell("") : cell(std::string(standing_name(c.standing)), standing_name(c.standing));
  if (!r.options.text.empty()) {
    const bool kl = c.fidelity && c.fidelity->divergence;
    out += cell(c.fidelity ? fmt::format("{:.3f}", c.fidelity->perplexity.perplexity) : "");
    out += kl ? kl_cell(c.fidelity->divergence->mean_kl,
                        fmt::format("{:.1f} %", 100.0 * c.fidelity->divergence->top1_agreement))
              : cell("");
  }
  if (const std::optional<PooledFidelity> f = pool_fidelity(c.on_answers)) {
    out += kl_cell(f->mean_kl, of_text(f->flipped_items, f->n_items));
  } else {
    out += cell("");
  }
  return out + "</tr>\n";
}

// Shares and scores in points; what has no better or worse as it is.
std::string metric_text(const TaskResult& task, Metric m) {
  const double mean = task.mean(m);
  if (metric_row(m).better == Better::neither) return fmt::format("{:.2f}", mean);
  return fmt::format("{:.1f}", 100.0 * mean / metric_scale(m));
}

std::string task_row(const SqueezeResult& r, const Candidate& c, size_t t, bool is_float, std::string_view css) {
  std::string out =
      fmt::format("<tr class=\"{}\"><th scope=\"row\">{}</th>", css, is_float ? "float" : html_escape(c.recipe.name));
  for (const Metric m : r.tasks[t].metrics) out += cell(metric_text(c.tasks[t], m));
  if (is_float) return out + "<td></td><td></td><td></td><td></td><td></td><td></td></tr>\n";
  const TaskComparison& made = c.comparisons[t];
  out += cell(difference_cell(c.task_differences[t]));
  out += cell(html_escape(p_text(made.p_different)));
  out += cell(html_escape(flips_text(made.flips)), "left");
  out += cell(fmt::format("{:.1f}", made.detectable));
  out += cell(items_needed_text(made, c.tasks[t].items.size()), "left");
  if (t < c.on_answers.size()) {
    const TaskFidelity& f = c.on_answers[t];
    out += kl_cell(f.divergence.mean_kl, of_text(f.flipped_items, static_cast<int64_t>(f.items.size())));
  } else {
    out += cell("");
  }
  return out + "</tr>\n";
}

std::string task_table(const SqueezeResult& r, size_t t) {
  const TaskSet& task = r.tasks[t];
  std::string head = column("candidate");
  for (const Metric m : task.metrics) head += column(metric_name(m), m == task.primary ? "decides" : "");
  head += column("against float", "points") + column("p", "no difference") + column("flips", "", true) +
          column("would be found", "points") + column("items to decide", "", true) +
          column("KL on answers", "answers changed");
  std::string rows = task_row(r, r.baseline, t, true, "float");
  for (const size_t i : scored_by_size(r)) {
    rows += task_row(r, r.candidates[i], t, false, is_picked(r, i) ? "picked" : "");
  }
  return fmt::format("<h3>{} <span class=\"range\">{} items</span></h3>\n", html_escape(task.name), task.items.size()) +
         table(head, rows);
}

}  // namespace

std::string candidates_section(const SqueezeResult& r) {
  std::string head = column("candidate") + column("file", "memory") + column("bits per weight", "all, body") +
                     column("tokens/s", "predicted") + column("score", "with interval") + column("against float") +
                     column("margin");
  if (!r.options.text.empty()) head += column("perplexity") + column("KL on text", "same top token");
  head += column("KL on answers", "answers changed");
  std::string rows = candidate_row(r, r.baseline, true, "float");
  for (const size_t i : scored_by_size(r)) {
    rows += candidate_row(r, r.candidates[i], false, is_picked(r, i) ? "picked" : "");
  }
  return "<h2>Candidates</h2>\n" + table(head, rows) +
         fmt::format(
             "<p class=\"soft\">Scores in points, 0 to 100. Memory: weights, KV cache at context {} and "
             "activations. Body: without token embedding and head. KL in nats a token. Answers: the float model's own; "
             "one is "
             "changed when the candidate would have chosen another token somewhere in it.</p>\n",
             r.baseline.plan.context);
}

std::string tasks_section(const SqueezeResult& r) {
  if (r.tasks.empty() || r.baseline.tasks.size() != r.tasks.size()) return "";
  std::string out = "<h2>Task by task</h2>\n";
  for (size_t t = 0; t < r.tasks.size(); ++t) out += task_table(r, t);
  return out +
         fmt::format(
             "<p class=\"soft\">p: sign flips of clusters, two-sided. Flips: items that pass ({} points or more) "
             "with the one and fail with the other; exact McNemar test. Would be found: the smallest difference "
             "such items show in 4 of 5 cases. Items to decide: how many would tell in 4 of 5 cases on which side "
             "of the margin the candidate is, were its loss as measured.</p>\n",
             kPassPoints);
}

std::string recipes_section(const SqueezeResult& r) {
  std::string rows;
  for (const Candidate& c : r.candidates) {
    rows += fmt::format(
        "<tr><th scope=\"row\">{}</th><td class=\"text\">{}</td><td class=\"text\"><code>{}</code>"
        "</td></tr>\n",
        html_escape(c.recipe.name), html_escape(recipe_text(c.recipe)),
        c.hash.empty() ? "not made" : html_escape(c.hash.substr(0, 12)));
  }
  const std::string calibrated = r.calibrated_on.empty()
                                     ? "Candidates were rounded without calibration data."
                                     : fmt::format(
                                           "Candidates were rounded by statistics of the float model's inputs on {}; "
                                           "no item of the evaluation is among them.",
                                           html_escape(r.calibrated_on));
  return "<h2>Calibration and candidates</h2>\n<p>" + calibrated +
         "</p>\n<details><summary>What each candidate is made of</summary>\n" +
         table(column("candidate") + column("scheme and rules", "", true) + column("file hash", "", true), rows) +
         "</details>\n";
}

std::string excluded_section(const SqueezeResult& r) {
  std::string rows;
  for (const Candidate& c : r.candidates) {
    if (c.excluded.empty()) continue;
    rows += fmt::format("<tr><th scope=\"row\">{}</th><td>{}</td><td class=\"text\">{}</td></tr>\n",
                        html_escape(c.recipe.name), format_bytes(c.file_bytes), html_escape(c.excluded));
  }
  if (rows.empty()) return "";
  return "<h2>Excluded before scoring</h2>\n" +
         table(column("candidate") + column("file") + column("reason", "", true), rows);
}

}  // namespace thimble
