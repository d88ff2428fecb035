// report.html: verdict first, then the pictures, the table, the worst answers, what was excluded, how to reproduce.
// Every text from outside (answers, names, paths, reasons) passes html_escape().
#include <algorithm>
#include <cmath>
#include <numeric>

#include "squeeze/html_text.h"
#include "squeeze/pick.h"
#include "squeeze/report.h"
#include "squeeze/report_examples.h"
#include "squeeze/report_style.h"
#include "squeeze/svg_plot.h"

namespace thimble {

namespace {

std::string signed_points(double v) {
  const std::string size = fmt::format("{:.1f}", std::abs(v));
  return size == "0.0" ? size : (v < 0 ? "−" : "+") + size;
}

std::string interval(double low, double high) {
  return low == high ? signed_points(low) : fmt::format("{} to {}", signed_points(low), signed_points(high));
}

// "−1.5 (−3.5 to 0.0)", without the interval where it is a point.
std::string difference_cell(const PairedDifference& d) {
  if (d.low == d.high) return signed_points(d.mean);
  return fmt::format("{} <span class=\"range\">{}</span>", signed_points(d.mean), interval(d.low, d.high));
}

std::string kl_text(double v) {
  return v >= 0.0001 ? fmt::format("{:.4f}", v) : fmt::format("{:.1e}", v);
}

// Indices of the candidates that were scored, smallest file first.
std::vector<size_t> scored_by_size(const SqueezeResult& r) {
  std::vector<size_t> order(r.candidates.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::erase_if(order, [&](size_t i) { return !r.candidates[i].excluded.empty(); });
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return r.candidates[a].file_bytes < r.candidates[b].file_bytes; });
  return order;
}

bool is_picked(const SqueezeResult& r, size_t i) {
  return r.picked >= 0 && static_cast<size_t>(r.picked) == i;
}

std::string headline(const SqueezeResult& r) {
  if (r.verdict == Verdict::nothing_fits) return "Nothing fits";
  const std::string& name = r.candidates[static_cast<size_t>(r.picked)].recipe.name;
  return r.verdict == Verdict::picked ? name + " picked" : "Cannot tell: " + name + " taken, the smaller";
}

void add_tile(std::string& out, std::string_view name, const std::string& value, const std::string& note) {
  out +=
      fmt::format("<div><dt>{}</dt><dd>{}<small>{}</small></dd></div>\n", name, html_escape(value), html_escape(note));
}

std::string tiles(const SqueezeResult& r) {
  if (r.picked < 0) return "";
  const Candidate& c = r.candidates[static_cast<size_t>(r.picked)];
  std::string out = "<dl class=\"tiles\">\n";
  const double share = 100.0 * static_cast<double>(c.file_bytes) / static_cast<double>(r.baseline.file_bytes);
  add_tile(out, "File", format_bytes(c.file_bytes), fmt::format("{:.0f} % of the float model", share));
  add_tile(out, "Task score", fmt::format("{:.1f}", c.score.mean),
           fmt::format("{} against float", interval(c.against_float.low, c.against_float.high)));
  add_tile(out, "Memory on the device", format_bytes(c.plan.total_bytes),
           fmt::format("of {}, context {}", format_bytes(c.plan.available_bytes), c.plan.context));
  add_tile(out, "Decode, predicted", fmt::format("{:.0f} tokens/s", c.plan.decode_tokens_per_s),
           fmt::format("{:.1f} W; prefill {:.0f} tokens/s", c.plan.decode_watts, c.plan.prefill_tokens_per_s));
  if (c.fidelity && c.fidelity->divergence) {
    add_tile(out, "KL divergence", kl_text(c.fidelity->divergence->mean_kl),
             fmt::format("same top token {:.1f} %", 100.0 * c.fidelity->divergence->top1_agreement));
  }
  return out + "</dl>\n";
}

std::string verdict_section(const SqueezeResult& r) {
  return fmt::format("<section class=\"verdict {}\"><strong>{}</strong>\n<p>{}</p></section>\n{}",
                     verdict_name(r.verdict), html_escape(headline(r)), html_escape(r.explanation), tiles(r));
}

PlotPoint plot_point(const SqueezeResult& r, size_t i) {
  const Candidate& c = r.candidates[i];
  PlotPoint p;
  p.x = static_cast<double>(c.file_bytes) / 1e6;
  p.label = c.recipe.name;
  p.css_class = is_picked(r, i) ? "picked" : std::string(standing_name(c.standing));
  return p;
}

Plot score_plot(const SqueezeResult& r) {
  Plot plot;
  plot.title = "File size against task score";
  plot.x_label = "file size, MB";
  plot.y_label = "task score, points";
  for (const size_t i : scored_by_size(r)) {
    const Candidate& c = r.candidates[i];
    PlotPoint p = plot_point(r, i);
    p.y = c.score.mean;
    // The interval of the paired difference, drawn around the score: that of the score itself is mostly between items.
    p.low = r.baseline.score.mean + c.against_float.low;
    p.high = r.baseline.score.mean + c.against_float.high;
    p.tooltip = fmt::format("{}: {}, {:.2f} points ({} against float)", c.recipe.name, format_bytes(c.file_bytes),
                            c.score.mean, interval(c.against_float.low, c.against_float.high));
    plot.points.push_back(p);
  }
  // A line, not a point: the float model is several times larger and would push the candidates into a corner.
  plot.lines.push_back({r.baseline.score.mean, fmt::format("float, {}", format_bytes(r.baseline.file_bytes))});
  plot.lines.push_back({r.baseline.score.mean - r.options.margin, fmt::format("margin, {} points", r.options.margin)});
  return plot;
}

Plot kl_plot(const SqueezeResult& r) {
  Plot plot;
  plot.title = "File size against KL divergence";
  plot.x_label = "file size, MB";
  plot.y_label = "mean KL divergence, nats";
  plot.log_y = true;
  for (const size_t i : scored_by_size(r)) {
    const Candidate& c = r.candidates[i];
    if (!c.fidelity || !c.fidelity->divergence) continue;
    PlotPoint p = plot_point(r, i);
    p.y = c.fidelity->divergence->mean_kl;
    p.tooltip = fmt::format("{}: {}, KL {}", c.recipe.name, format_bytes(c.file_bytes), kl_text(p.y));
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

std::string plots(const SqueezeResult& r) {
  if (scored_by_size(r).empty()) return "";
  return "<h2>Size against quality</h2>\n" +
         figure(score_plot(r),
                fmt::format("Mean primary score over all items. Whiskers: {:.0f} % interval of the paired "
                            "difference from the float model (items resampled by cluster).",
                            100.0 * r.options.confidence)) +
         figure(kl_plot(r),
                "Mean KL divergence from the float model on the text, nats per token; lower is closer. It "
                "still tells candidates apart where the tasks saturate.");
}

std::string cell(const std::string& value, std::string_view css = "") {
  return fmt::format("<td{}>{}</td>", css.empty() ? "" : fmt::format(" class=\"{}\"", css), value);
}

std::string table_row(const SqueezeResult& r, const Candidate& c, bool is_float, std::string_view css) {
  std::string out =
      fmt::format("<tr class=\"{}\"><th scope=\"row\">{}</th>", css, is_float ? "float" : html_escape(c.recipe.name));
  out += cell(format_bytes(c.file_bytes));
  out += cell(fmt::format("{:.2f} <span class=\"range\">{:.2f}</span>", c.bits_per_weight, c.body_bits_per_weight));
  out += cell(format_bytes(c.plan.total_bytes) + (c.plan.fits ? "" : " <span class=\"loses\">too big</span>"));
  out += cell(
      fmt::format("{:.0f} <span class=\"range\">{:.1f} W</span>", c.plan.decode_tokens_per_s, c.plan.decode_watts));
  for (size_t t = 0; t < c.tasks.size(); ++t) {
    const Metric m = c.tasks[t].primary;
    out += cell(fmt::format("{:.1f}", 100.0 * c.tasks[t].mean(m) / metric_scale(m)));
  }
  out += is_float ? cell("") : cell(difference_cell(c.against_float));
  out += is_float ? cell("") : cell(std::string(standing_name(c.standing)), standing_name(c.standing));
  if (!r.options.text.empty()) {
    const bool kl = c.fidelity && c.fidelity->divergence;
    out += cell(c.fidelity ? fmt::format("{:.3f}", c.fidelity->perplexity.perplexity) : "");
    out += cell(kl ? kl_text(c.fidelity->divergence->mean_kl) : "");
    out += cell(kl ? fmt::format("{:.1f} %", 100.0 * c.fidelity->divergence->top1_agreement) : "");
  }
  return out + "</tr>\n";
}

std::string table(const SqueezeResult& r) {
  std::string head =
      "<th scope=\"col\">candidate</th><th scope=\"col\">file</th>"
      "<th scope=\"col\">bits per weight<br><span class=\"range\">all, body</span></th>"
      "<th scope=\"col\">memory</th><th scope=\"col\">tokens/s<br><span class=\"range\">predicted</span></th>";
  for (const TaskSet& t : r.tasks) {
    head += fmt::format("<th scope=\"col\">{}<br><span class=\"range\">{}</span></th>", html_escape(t.name),
                        metric_name(t.primary));
  }
  head += "<th scope=\"col\">against float</th><th scope=\"col\">margin</th>";
  if (!r.options.text.empty()) {
    head += "<th scope=\"col\">perplexity</th><th scope=\"col\">KL</th><th scope=\"col\">same top</th>";
  }
  std::string rows = table_row(r, r.baseline, true, "float");
  for (const size_t i : scored_by_size(r)) {
    rows += table_row(r, r.candidates[i], false, is_picked(r, i) ? "picked" : "");
  }
  return fmt::format(
      "<h2>Candidates</h2>\n<div class=\"scroll\"><table><thead><tr>{}</tr></thead>\n<tbody>{}</tbody>"
      "</table></div>\n<p class=\"soft\">Scores in points, 0 to 100. Memory: weights, KV cache at context "
      "{} and activations. Body: without token embedding and head.</p>\n",
      head, rows, r.baseline.plan.context);
}

std::string excluded(const SqueezeResult& r) {
  std::string rows;
  for (const Candidate& c : r.candidates) {
    if (c.excluded.empty()) continue;
    rows += fmt::format("<tr><th scope=\"row\">{}</th><td>{}</td><td class=\"text\">{}</td></tr>\n",
                        html_escape(c.recipe.name), format_bytes(c.file_bytes), html_escape(c.excluded));
  }
  if (rows.empty()) return "";
  return "<h2>Excluded before scoring</h2>\n<div class=\"scroll\"><table><thead><tr><th scope=\"col\">candidate</th>"
         "<th scope=\"col\">file</th><th class=\"text\" scope=\"col\">reason</th></tr></thead>\n<tbody>" +
         rows + "</tbody></table></div>\n";
}

std::string method(const SqueezeResult& r) {
  size_t items = 0;
  for (const TaskSet& t : r.tasks) items += t.items.size();
  std::string out = "<h2>How this was measured</h2>\n";
  out += fmt::format(
      "<p>{} items of {} tasks, answered greedily with the model's chat template. Differences are paired by item; "
      "intervals are percentiles of {} resamples of clusters (seed {}). A candidate keeps the margin when the lower "
      "end "
      "of its {:.0f} % interval stays above −{} points on every task. Speed and watts are predictions of the device "
      "model, not measurements.</p>\n",
      items, r.tasks.size(), kResamples, kBootstrapSeed, 100.0 * r.options.confidence, r.options.margin);
  out += fmt::format("<p class=\"soft\">Device: {}. {}</p>\n", html_escape(r.device.name),
                     html_escape(r.device.description));
  out +=
      fmt::format("<h2>Reproduce</h2>\n<pre class=\"command\">{}</pre>\n<p class=\"soft\">Thimble {}, float model {}",
                  html_escape(reproduce_command(r.options)), html_escape(r.version), html_escape(r.baseline.hash));
  for (const TaskSet& t : r.tasks) {
    out += fmt::format("; {} {}", html_escape(t.name), html_escape(t.data_hash.substr(0, 12)));
  }
  return out + ".</p>\n";
}

}  // namespace

std::string report_html(const SqueezeResult& r) {
  return fmt::format(
             "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
             "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
             "<link rel=\"icon\" href=\"data:,\">\n<title>{0}: {1}</title>\n<style>{2}</style>\n</head>\n<body>\n"
             "<h1>{0} for {3}</h1>\n",
             html_escape(r.model_name), html_escape(headline(r)), report_style(), html_escape(r.device.name)) +
         verdict_section(r) + plots(r) + table(r) + report_examples(r) + excluded(r) + method(r) + "</body>\n</html>\n";
}

std::string reproduce_command(const SqueezeOptions& o) {
  const auto quoted = [](const std::string& text) {
    const bool plain = !text.empty() && text.find_first_not_of(
                                            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                            "0123456789_./+-=:,@%") == std::string::npos;
    if (plain) return text;
    std::string out = "'";
    for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return out + "'";
  };
  std::string out =
      fmt::format("thimble squeeze {} --device {} --tasks {}", quoted(o.model), quoted(o.device), quoted(o.tasks));
  if (!o.candidates.empty()) out += " --candidates " + quoted(o.candidates);
  if (!o.text.empty()) out += " --text " + quoted(o.text);
  if (o.kv == ops::KvType::int8) out += " --kv int8";
  if (o.context != 0) out += fmt::format(" --context {}", o.context);
  out += fmt::format(" --margin {} --confidence {} -o {}", o.margin, o.confidence, quoted(o.output));
  return out;
}

}  // namespace thimble
