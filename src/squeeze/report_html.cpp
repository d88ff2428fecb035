// report.html: verdict first, then the pictures, the tables, the worst answers, what was excluded, how to reproduce.
// Every text from outside (answers, names, paths, reasons) passes html_escape().
#include "base/error.h"
#include "squeeze/headline.h"
#include "squeeze/html_text.h"
#include "squeeze/report.h"
#include "squeeze/report_script.h"
#include "squeeze/report_sections.h"
#include "squeeze/report_style.h"
#include "squeeze/report_text.h"
#include "squeeze/standings.h"

namespace thimble {

namespace {

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
  add_tile(
      out, "Task score", fmt::format("{:.1f}", c.score.mean),
      fmt::format("float {:.1f}; {}", r.baseline.score.mean, interval_text(c.against_float.low, c.against_float.high)));
  add_tile(out, "Memory on the device", format_bytes(c.plan.total_bytes),
           fmt::format("of {}, context {}", format_bytes(c.plan.available_bytes), c.plan.context));
  add_tile(out, "Decode, predicted", fmt::format("{:.0f} tokens/s", c.plan.decode_tokens_per_s),
           fmt::format("{:.1f} W; prefill {:.0f} tokens/s", c.plan.decode_watts, c.plan.prefill_tokens_per_s));
  if (c.fidelity && c.fidelity->divergence) {
    add_tile(out, "KL divergence on the text", kl_text(c.fidelity->divergence->mean_kl),
             fmt::format("same top token {:.1f} %", 100.0 * c.fidelity->divergence->top1_agreement));
  }
  if (const std::optional<PooledFidelity> f = pool_fidelity(c.on_answers)) {
    add_tile(out, "Answers unchanged", of_text(f->n_items - f->flipped_items, f->n_items),
             fmt::format("KL {} on the float model's answers", kl_text(f->mean_kl)));
  }
  for (const OrderAgreement& o : r.order_agreement) {
    const Disagreement& d = o.agreement.all;
    if (o.measure != "perplexity" || !o.task.empty() || d.pairs == 0) continue;
    add_tile(out, "Perplexity misorders", fmt::format("{:.0f} % of pairs", 100 * d.rate),
             fmt::format("{} of {}; {:.0f} to {:.0f} %", d.disagree, d.pairs, 100 * d.low, 100 * d.high));
  }
  return out + "</dl>\n";
}

std::string verdict_section(const SqueezeResult& r) {
  return fmt::format("<section class=\"verdict {}\"><strong>{}</strong>\n<p>{}</p></section>\n{}",
                     verdict_name(r.verdict), html_escape(verdict_title(r)), html_escape(r.explanation), tiles(r));
}

std::string method(const SqueezeResult& r) {
  size_t items = 0;
  for (const TaskSet& t : r.tasks) items += t.items.size();
  std::string out = "<h2>How this was measured</h2>\n";
  out += fmt::format(
      "<p>{} items of {} tasks, answered greedily with the model's chat template. Differences are paired by item; "
      "intervals are percentiles of {} resamples of clusters (seed {}), widened for few clusters and for losses too "
      "rare "
      "to have been seen. A candidate keeps the margin when a one-sided test at {:.1f} %, Holm-corrected for the "
      "number "
      "of candidates, shows that it loses less than {} points on every task, and no {:.0f} % interval reaches below. "
      "Speed and watts are predictions of the device model, not measurements.</p>\n",
      items, r.tasks.size(), kResamples, kBootstrapSeed, 50 * (1 - r.options.confidence), r.options.margin,
      100 * r.options.confidence);
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
  const std::string head = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
      "img-src data:; script-src 'sha256-{}'\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<link rel=\"icon\" href=\"data:,\">\n<title>{}: {}</title>\n<style>{}</style>\n</head>\n<body>\n"
      "<h1>{} for {}</h1>\n",
      report_script_sha256(), html_escape(r.model_name), html_escape(verdict_title(r)), report_style(),
      html_escape(r.model_name), html_escape(r.device.name));
  return head + verdict_section(r) + plots_section(r) + candidates_section(r) + tasks_section(r) +
         agreement_section(r) + examples_section(r) + recipes_section(r) + excluded_section(r) + method(r) +
         fmt::format("<script>{}</script>\n</body>\n</html>\n", report_script());
}

}  // namespace thimble
