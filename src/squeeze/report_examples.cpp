// Selection and rendering of the worst answers.
#include "squeeze/report_examples.h"

#include <algorithm>

#include "eval/code_points.h"
#include "squeeze/html_text.h"
#include "text/unicode.h"

namespace thimble {

namespace {

constexpr size_t kExamples = 3;
constexpr size_t kMaxShown = 1200;  // code points of one text

std::string shortened(const std::string& text) {
  const std::u32string points = code_points(text);
  if (points.size() <= kMaxShown) return html_escape(text);
  std::string out;
  for (size_t i = 0; i < kMaxShown; ++i) append_utf8(out, points[i]);
  return html_escape(out) + " …";
}

std::string column(std::string_view title, const std::string& text) {
  return fmt::format("<div><h4>{}</h4><pre>{}</pre></div>\n", html_escape(title),
                     text.empty() ? "<em>nothing</em>" : shortened(text));
}

std::string example(const SqueezeResult& r, const Candidate& c, const WorstItem& w) {
  const TaskItem& item = r.tasks[w.task].items[w.item];
  const ItemResult& answer = c.tasks[w.task].items[w.item];
  const std::string reference = item.refs.empty() ? std::string() : item.refs.front();
  return fmt::format(
      "<div class=\"example\"><p class=\"soft\">{}, item {}: {:.0f} points lost{}</p>\n"
      "<pre class=\"prompt\">{}</pre>\n<div class=\"answers\">{}{}{}</div></div>\n",
      html_escape(r.tasks[w.task].name), html_escape(item.id), w.lost,
      answer.truncated ? ", cut at the generation limit" : "", shortened(item.messages.back().content),
      column("reference", reference), column("float", r.baseline.tasks[w.task].items[w.item].answer),
      column(c.recipe.name, answer.answer));
}

}  // namespace

std::vector<WorstItem> worst_items(const Candidate& candidate, const Candidate& baseline, size_t n) {
  std::vector<WorstItem> out;
  for (size_t t = 0; t < candidate.tasks.size(); ++t) {
    const std::vector<double> a = candidate.tasks[t].points();
    const std::vector<double> b = baseline.tasks[t].points();
    for (size_t i = 0; i < a.size(); ++i) {
      if (a[i] < b[i]) out.push_back({t, i, b[i] - a[i]});
    }
  }
  std::stable_sort(out.begin(), out.end(), [](const WorstItem& x, const WorstItem& y) { return x.lost > y.lost; });
  if (out.size() > n) out.resize(n);
  return out;
}

std::string report_examples(const SqueezeResult& r) {
  std::string out = "<h2>Worst answers</h2>\n";
  std::string without;
  for (size_t i = 0; i < r.candidates.size(); ++i) {
    const Candidate& c = r.candidates[i];
    if (!c.excluded.empty()) continue;
    const std::vector<WorstItem> all = worst_items(c, r.baseline, SIZE_MAX);
    if (all.empty()) {
      without += (without.empty() ? "" : ", ") + html_escape(c.recipe.name);
      continue;
    }
    const bool open = r.picked >= 0 && static_cast<size_t>(r.picked) == i;
    out += fmt::format("<details{}><summary>{}: {} item{} worse than float</summary>\n", open ? " open" : "",
                       html_escape(c.recipe.name), all.size(), all.size() == 1 ? "" : "s");
    for (size_t k = 0; k < std::min(kExamples, all.size()); ++k) out += example(r, c, all[k]);
    out += "</details>\n";
  }
  if (!without.empty()) out += "<p class=\"soft\">No item worse than the float model: " + without + ".</p>\n";
  return out;
}

}  // namespace thimble
