// The pictures of report.html.
#include <algorithm>
#include <functional>

#include "base/error.h"
#include "squeeze/headline.h"
#include "squeeze/html_text.h"
#include "squeeze/report_sections.h"
#include "squeeze/report_text.h"
#include "squeeze/svg_plot.h"

namespace thimble {

namespace {

using ValueOf = std::function<std::optional<double>(const Candidate&)>;

std::optional<double> kl_of(const Candidate& c) {
  if (!c.fidelity || !c.fidelity->divergence) return std::nullopt;
  return c.fidelity->divergence->mean_kl;
}

std::optional<double> perplexity_of(const Candidate& c) {
  if (!c.fidelity) return std::nullopt;
  return c.fidelity->perplexity.perplexity;
}

std::optional<double> answers_kl_of(const Candidate& c) {
  const std::optional<PooledFidelity> pooled = pool_fidelity(c.on_answers);
  return pooled ? std::optional(pooled->mean_kl) : std::nullopt;
}

std::string everything_about(const Candidate& c) {
  std::string out =
      fmt::format("{}: {}, {:.2f} points ({} against float), memory {}, {:.0f} tokens/s", c.recipe.name,
                  format_bytes(c.file_bytes), c.score.mean, interval_text(c.against_float.low, c.against_float.high),
                  format_bytes(c.plan.total_bytes), c.plan.decode_tokens_per_s);
  if (const auto perplexity = perplexity_of(c)) out += fmt::format(", perplexity {:.3f}", *perplexity);
  if (const auto kl = kl_of(c)) out += ", KL " + kl_text(*kl);
  if (const auto kl = answers_kl_of(c)) out += ", KL on answers " + kl_text(*kl);
  return out;
}

PlotPoint plot_point(const SqueezeResult& r, size_t i, double x) {
  const Candidate& c = r.candidates[i];
  PlotPoint p;
  p.x = x;
  p.label = c.recipe.name;
  p.tooltip = everything_about(c);
  p.css_class = is_picked(r, i) ? "picked" : std::string(standing_name(c.standing));
  return p;
}

void set_score(const SqueezeResult& r, const Candidate& c, PlotPoint& p) {
  p.y = c.score.mean;
  // The interval of the paired difference, drawn around the score: that of the score itself is mostly between items.
  p.low = r.baseline.score.mean + c.against_float.low;
  p.high = r.baseline.score.mean + c.against_float.high;
}

// Scores against anything; a logarithm where the values spread over more than a factor of four.
Plot score_plot(const SqueezeResult& r, std::string_view title, std::string_view x_label, const ValueOf& x_of) {
  Plot plot;
  plot.title = title;
  plot.x_label = x_label;
  plot.y_label = "task score, points";
  double low = 0, high = 0;
  for (const size_t i : scored_by_size(r)) {
    const std::optional<double> x = x_of(r.candidates[i]);
    if (!x) continue;
    PlotPoint p = plot_point(r, i, *x);
    set_score(r, r.candidates[i], p);
    low = plot.points.empty() ? *x : std::min(low, *x);
    high = std::max(high, *x);
    plot.points.push_back(p);
  }
  plot.log_x = low > 0 && high > 4 * low;
  // A line, not a point: the float model is several times larger and would push the candidates into a corner.
  plot.lines.push_back({r.baseline.score.mean, fmt::format("float, {}", format_bytes(r.baseline.file_bytes))});
  plot.lines.push_back({r.baseline.score.mean - r.options.margin,
                        fmt::format("margin, {} {}", r.options.margin, r.options.margin == 1 ? "point" : "points")});
  return plot;
}

Plot kl_plot(const SqueezeResult& r) {
  Plot plot;
  plot.title = "File size against KL divergence";
  plot.x_label = "file size, MB";
  plot.y_label = "mean KL divergence, nats";
  plot.log_y = true;
  for (const size_t i : scored_by_size(r)) {
    const std::optional<double> kl = kl_of(r.candidates[i]);
    if (!kl) continue;
    PlotPoint p = plot_point(r, i, static_cast<double>(r.candidates[i].file_bytes) / 1e6);
    p.y = *kl;
    plot.points.push_back(p);
  }
  return plot;
}

std::string figure(const Plot& plot, std::string_view caption) {
  const std::string wide = svg_plot(plot, 900, 380);
  if (wide.empty()) return "";
  // Two drawings, one shown: letters of a scaled-down wide picture could not be read on a phone.
  return fmt::format(
      "<figure><div class=\"wide\">{}</div><div class=\"narrow\">{}</div>\n<figcaption>{}</figcaption></figure>\n",
      wide, svg_plot(plot, 360, 380), html_escape(caption));
}

std::string disagreement_cells(const Disagreement& d) {
  if (d.pairs == 0) return "<td>0</td><td></td>";
  return fmt::format("<td>{} of {}</td><td>{:.0f} % <span class=\"range\">{:.0f} to {:.0f}</span></td>", d.disagree,
                     d.pairs, 100 * d.rate, 100 * d.low, 100 * d.high);
}

std::string agreement_table(const SqueezeResult& r) {
  std::string rows;
  for (const OrderAgreement& o : r.order_agreement) {
    rows += fmt::format(
        "<tr><th scope=\"row\">{}</th><td class=\"left\">{}</td>{}{}<td>{:.2f} <span class=\"range\">{:.2f} to "
        "{:.2f}</span></td></tr>\n",
        measure_title(o), o.task.empty() ? "all items" : html_escape(o.task), disagreement_cells(o.agreement.all),
        disagreement_cells(o.agreement.significant), o.agreement.tau_b, o.agreement.tau_low, o.agreement.tau_high);
  }
  return "<div class=\"scroll\"><table><thead><tr><th scope=\"col\">order by</th><th class=\"text\" "
         "scope=\"col\">against the score on</th><th scope=\"col\">pairs that disagree</th><th scope=\"col\">share</th>"
         "<th scope=\"col\">of significant pairs</th><th scope=\"col\">share</th><th scope=\"col\">Kendall's tau-b</th>"
         "</tr></thead>\n<tbody>" +
         rows + "</tbody></table></div>\n";
}

}  // namespace

std::string plots_section(const SqueezeResult& r) {
  if (scored_by_size(r).empty()) return "";
  const auto megabytes = [](const Candidate& c) { return static_cast<double>(c.file_bytes) / 1e6; };
  const auto memory = [](const Candidate& c) { return static_cast<double>(c.plan.total_bytes) / 1e6; };
  const auto speed = [](const Candidate& c) { return c.plan.decode_tokens_per_s; };
  const std::string whiskers = fmt::format("Whiskers: {:.0f} % interval of the paired difference from the float model.",
                                           100.0 * r.options.confidence);
  return "<h2>Size against quality</h2>\n" +
         figure(score_plot(r, "File size against task score", "file size, MB", megabytes),
                "Mean primary score over all items. " + whiskers) +
         figure(kl_plot(r),
                "Mean KL divergence from the float model on the text, nats per token; lower is closer. It "
                "still tells candidates apart where the tasks saturate.") +
         "<details><summary>Speed and memory against quality</summary>\n" +
         figure(score_plot(r, "Speed against task score", "decode, tokens/s predicted for the device", speed),
                "Predicted decoding speed with the context full. " + whiskers) +
         figure(score_plot(r, "Memory against task score", "memory on the device, MB", memory),
                "Weights, key/value cache and activations. " + whiskers) +
         "</details>\n";
}

std::string agreement_section(const SqueezeResult& r) {
  if (r.order_agreement.empty()) return "";
  std::string out = "<h2>Would perplexity have chosen the same?</h2>\n";
  for (const OrderAgreement& o : r.order_agreement) {
    if (o.task.empty()) out += "<p>" + html_escape(describe_agreement(o, r.options.confidence)) + "</p>\n";
  }
  out +=
      figure(score_plot(r, "Perplexity against task score", "perplexity of the text (lower is better)", perplexity_of),
             "Were perplexity a stand-in for the tasks, the points would fall from left to right.");
  out += figure(score_plot(r, "KL divergence against task score", "mean KL divergence, nats (lower is better)", kl_of),
                "The same for the divergence from the float model.");
  out += figure(score_plot(r, "KL divergence on answers against task score",
                           "mean KL divergence on the float model's answers, nats (lower is better)", answers_kl_of),
                "The same on what the float model itself says to the items.");
  return out + agreement_table(r) +
         fmt::format(
             "<p class=\"soft\">All pairs of scored candidates that neither order leaves tied. Significant: the "
             "scores of the pair differ by sign flips of clusters at {:.0f} %. Intervals resample the clusters "
             "of items; the text stays as it is.</p>\n",
             100 * (1 - r.options.confidence));
}

}  // namespace thimble
