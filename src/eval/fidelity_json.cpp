#include "eval/fidelity_json.h"

#include <algorithm>

namespace thimble {

Json divergence_json(const DivergenceResult& d) {
  return {
      {"mean_kl", d.mean_kl}, {"median_kl", d.median_kl},           {"p99_kl", d.p99_kl},
      {"max_kl", d.max_kl},   {"top1_agreement", d.top1_agreement}, {"reference_perplexity", d.reference_perplexity}};
}

Json task_fidelity_json(const TaskFidelity& f) {
  Json stretches = Json::array();
  for (const FidelityStretch& s : f.stretches) {
    stretches.push_back({{"from", s.from},
                         {"to", s.to == 0 ? Json() : Json(s.to)},
                         {"tokens", s.n_tokens},
                         {"mean_kl", s.mean_kl},
                         {"top1_agreement", s.top1_agreement}});
  }
  return {{"tokens", f.n_tokens},
          {"divergence", divergence_json(f.divergence)},
          {"perplexity", f.perplexity},
          {"mean_tail", f.mean_tail},
          {"flipped_items", f.flipped_items},
          {"stretches", stretches}};
}

Json item_fidelity_json(const TaskFidelity& f) {
  Json items = Json::array();
  for (const ItemFidelity& item : f.items) {
    double kl = 0;
    for (const float v : item.kl) kl += static_cast<double>(v);
    items.push_back({{"id", item.id},
                     {"tokens", item.kl.size()},
                     {"mean_kl", kl / static_cast<double>(std::max<size_t>(item.kl.size(), 1))},
                     {"flips", item.flips.size()},
                     {"first_flip", item.flips.empty() ? Json() : Json(item.flips.front())}});
  }
  return items;
}

}  // namespace thimble
