// Selection and rendering of the worst answers.
#include <algorithm>

#include "base/error.h"
#include "squeeze/html_diff.h"
#include "squeeze/html_text.h"
#include "squeeze/report.h"
#include "squeeze/report_sections.h"
#include "squeeze/report_text.h"

namespace thimble {

namespace {

constexpr size_t kExamples = 6;
constexpr size_t kExamplesOfPicked = 15;
constexpr size_t kMaxShown = 1200;  // code points of one text

std::string answer_column(std::string_view title, const std::string& html) {
  return fmt::format("<div><h4>{}</h4><pre>{}</pre></div>\n", html_escape(title),
                     html.empty() ? "<em>nothing</em>" : html);
}

std::string example(const SqueezeResult& r, const Candidate& c, const WorstItem& w) {
  const TaskItem& item = r.tasks[w.task].items[w.item];
  const ItemResult& answer = c.tasks[w.task].items[w.item];
  const ItemResult& before = r.baseline.tasks[w.task].items[w.item];
  const std::string reference = item.refs.empty() ? std::string() : item.refs.front();
  const MarkedTexts marked = mark_differences(before.answer, answer.answer, kMaxShown);
  return fmt::format(
      "<div class=\"example\"><p class=\"soft\">{}, item {}: {:.0f} points lost{}</p>\n"
      "<pre class=\"prompt\">{}</pre>\n<div class=\"answers\">{}{}{}</div></div>\n",
      html_escape(r.tasks[w.task].name), html_escape(item.id), w.lost,
      answer.truncated ? ", cut at the generation limit" : "", cut_text(item.messages.back().content, kMaxShown),
      answer_column("reference", cut_text(reference, kMaxShown)), answer_column("float", marked.a),
      answer_column(c.recipe.name, marked.b));
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

std::string examples_section(const SqueezeResult& r) {
  std::string out, without;
  for (size_t i = 0; i < r.candidates.size(); ++i) {
    const Candidate& c = r.candidates[i];
    if (!c.excluded.empty()) continue;
    const std::vector<WorstItem> all = worst_items(c, r.baseline, SIZE_MAX);
    if (all.empty()) {
      without += (without.empty() ? "" : ", ") + html_escape(c.recipe.name);
      continue;
    }
    const size_t shown = std::min(all.size(), is_picked(r, i) ? kExamplesOfPicked : kExamples);
    out +=
        fmt::format("<details{}><summary>{}: {} item{} worse than float{}</summary>\n", is_picked(r, i) ? " open" : "",
                    html_escape(c.recipe.name), all.size(), all.size() == 1 ? "" : "s",
                    shown < all.size() ? fmt::format(", the {} worst", shown) : std::string());
    for (size_t k = 0; k < shown; ++k) out += example(r, c, all[k]);
    out += "</details>\n";
  }
  if (out.empty() && without.empty()) return "";
  const std::string search =
      "<p class=\"search\" hidden><label>Search in questions and answers <input type=\"search\"></label> "
      "<output></output></p>\n";
  std::string section = "<h2>Worst answers</h2>\n";
  if (!out.empty()) {
    section += "<p class=\"soft\">Marked: what the float model and the candidate do not have in common.</p>\n" +
               search + "<div id=\"worst\">\n" + out + "</div>\n";
  }
  if (!without.empty()) section += "<p class=\"soft\">No item worse than the float model: " + without + ".</p>\n";
  return section;
}

}  // namespace thimble
