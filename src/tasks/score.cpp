#include "tasks/score.h"

#include <algorithm>
#include <array>

#include "metrics/bleu.h"
#include "metrics/chrf.h"
#include "metrics/degeneration.h"
#include "metrics/format_rules.h"
#include "metrics/identifiers.h"
#include "metrics/line_items.h"
#include "metrics/metrics.h"
#include "metrics/rouge.h"

namespace thimble {

namespace {

double exact_of(const AnswerView& a) {
  return exact_match(a.text, a.item.refs);
}

template <ChrfWords words>
double chrf_of(const AnswerView& a) {
  return chrf(a.text, a.item.refs, words);
}

template <BleuTokenizer tokenizer>
double bleu_of(const AnswerView& a) {
  return bleu(bleu_counts(a.text, a.item.refs, tokenizer), BleuOrder::effective);
}

// rouge_score's score_multi: the reference with the highest F counts.
template <typename F>
double best_f(const AnswerView& a, F rouge) {
  double best = 0.0;
  for (const std::string& reference : a.item.refs) best = std::max(best, rouge(reference).f);
  return best;
}

template <int n, Stemming stemming>
double rouge_n_of(const AnswerView& a) {
  return best_f(a, [&](const std::string& reference) { return rouge_n(a.text, reference, n, stemming); });
}

template <Stemming stemming>
double rouge_l_of(const AnswerView& a) {
  return best_f(a, [&](const std::string& reference) { return rouge_l(a.text, reference, stemming); });
}

template <Stemming stemming>
double rouge_lsum_of(const AnswerView& a) {
  return best_f(a, [&](const std::string& reference) { return rouge_lsum(a.text, reference, stemming); });
}

double edit_similarity_of(const AnswerView& a) {
  return edit_similarity(a.text, a.item.refs);
}
double fact_recall_of(const AnswerView& a) {
  return fact_recall(a.text, a.item.facts);
}
double identifier_recall_of(const AnswerView& a) {
  return identifier_recall(a.text, a.item.refs);
}
double items_of(const AnswerView& a) {
  return line_items_score(a.text, a.item.items, LineScore::chrf_words);
}
double items_exact_of(const AnswerView& a) {
  return line_items_score(a.text, a.item.items, LineScore::exact);
}
double format_of(const AnswerView& a) {
  return broken_format_rule(a.task.format, a.text, a.item.items.size()).empty() ? 1.0 : 0.0;
}
double degeneration_of(const AnswerView& a) {
  return find_degeneration(a.text, a.truncated, a.item.refs) == Degeneration::none ? 0.0 : 1.0;
}
double length_ratio_of(const AnswerView& a) {
  return length_ratio(a.text, a.item.refs);
}

constexpr auto kUp = Better::higher;
constexpr auto kPlain = Stemming::none;
constexpr auto kStem = Stemming::porter;

constexpr std::array kTable = {
    MetricRow{Metric::exact, "exact", 1, kUp, Needs::refs, exact_of,
              "equal after folding case, white space, one full stop"},
    MetricRow{Metric::chrf2, "chrf2", 100, kUp, Needs::refs, chrf_of<ChrfWords::none>, "chrF2: n-grams of characters"},
    MetricRow{Metric::fact_recall, "fact_recall", 1, kUp, Needs::facts, fact_recall_of,
              "share of facts found, numbers normalised"},
    MetricRow{Metric::edit_similarity, "edit_similarity", 1, kUp, Needs::refs, edit_similarity_of,
              "1 - edit distance / longer length"},
    MetricRow{Metric::chrf2pp, "chrf2pp", 100, kUp, Needs::refs, chrf_of<ChrfWords::bigrams>,
              "chrF2++: chrF2 and n-grams of words"},
    MetricRow{Metric::bleu, "bleu", 100, kUp, Needs::refs, bleu_of<BleuTokenizer::thirteen_a>,
              "BLEU of the sentence, tokenizer 13a"},
    MetricRow{Metric::bleu_intl, "bleu_intl", 100, kUp, Needs::refs, bleu_of<BleuTokenizer::international>,
              "BLEU, tokenizer intl"},
    MetricRow{Metric::bleu_zh, "bleu_zh", 100, kUp, Needs::refs, bleu_of<BleuTokenizer::chinese>, "BLEU, tokenizer zh"},
    MetricRow{Metric::rouge1, "rouge1", 1, kUp, Needs::refs, rouge_n_of<1, kPlain>, "ROUGE-1 F: words in common"},
    MetricRow{Metric::rouge2, "rouge2", 1, kUp, Needs::refs, rouge_n_of<2, kPlain>, "ROUGE-2 F: pairs of words"},
    MetricRow{Metric::rouge_l, "rougeL", 1, kUp, Needs::refs, rouge_l_of<kPlain>,
              "ROUGE-L F: longest common subsequence"},
    MetricRow{Metric::rouge_lsum, "rougeLsum", 1, kUp, Needs::refs, rouge_lsum_of<kPlain>,
              "ROUGE-Lsum F: ROUGE-L line by line"},
    MetricRow{Metric::rouge1_stem, "rouge1_stem", 1, kUp, Needs::refs, rouge_n_of<1, kStem>,
              "ROUGE-1 F of Porter stems"},
    MetricRow{Metric::rouge2_stem, "rouge2_stem", 1, kUp, Needs::refs, rouge_n_of<2, kStem>,
              "ROUGE-2 F of Porter stems"},
    MetricRow{Metric::rouge_l_stem, "rougeL_stem", 1, kUp, Needs::refs, rouge_l_of<kStem>, "ROUGE-L F of Porter stems"},
    MetricRow{Metric::rouge_lsum_stem, "rougeLsum_stem", 1, kUp, Needs::refs, rouge_lsum_of<kStem>,
              "ROUGE-Lsum F of Porter stems"},
    MetricRow{Metric::identifier_recall, "identifier_recall", 1, kUp, Needs::refs, identifier_recall_of,
              "share of the reference's identifiers found"},
    MetricRow{Metric::items, "items", 100, kUp, Needs::items, items_of, "chrF2++ line by line against items"},
    MetricRow{Metric::items_exact, "items_exact", 1, kUp, Needs::items, items_exact_of,
              "share of lines equal to their item"},
    MetricRow{Metric::format, "format", 1, kUp, Needs::format, format_of, "1 when every rule of 'format' is kept"},
    MetricRow{Metric::degeneration, "degeneration", 1, Better::lower, Needs::nothing, degeneration_of,
              "1 when empty, cut at the limit, or looping"},
    MetricRow{Metric::length_ratio, "length_ratio", 1, Better::neither, Needs::refs, length_ratio_of,
              "length / length of the nearest reference"},
};

constexpr bool in_order() {
  for (size_t i = 0; i < kTable.size(); ++i) {
    if (static_cast<size_t>(kTable[i].metric) != i) return false;
  }
  return true;
}
static_assert(in_order() && kTable.size() == kMetricCount, "one row per metric, in the order of the enumeration");

}  // namespace

std::span<const MetricRow> metric_table() noexcept {
  return kTable;
}

const MetricRow& metric_row(Metric m) noexcept {
  return kTable[static_cast<size_t>(m)];
}

const MetricRow* find_metric(std::string_view name) noexcept {
  const auto row = std::find_if(kTable.begin(), kTable.end(), [&](const MetricRow& r) { return r.name == name; });
  return row == kTable.end() ? nullptr : &*row;
}

std::string metric_names() {
  std::string out;
  for (const MetricRow& row : kTable) out += (out.empty() ? "" : ", ") + std::string(row.name);
  return out;
}

std::string_view metric_name(Metric m) noexcept {
  return metric_row(m).name;
}

double metric_scale(Metric m) noexcept {
  return metric_row(m).scale;
}

ItemResult score_item(const TaskSet& task, const TaskItem& item, std::string answer, bool truncated) {
  ItemResult out{item.id, item.cluster, std::move(answer), truncated, {}};
  const AnswerView view{task, item, out.answer, truncated};
  for (const Metric m : task.metrics) out.scores[m] = metric_row(m).score(view);
  return out;
}

}  // namespace thimble
