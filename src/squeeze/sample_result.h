// Test helper: finished candidates and a whole result made by hand.
#pragma once

#include <string>
#include <vector>

#include "squeeze/pick.h"

namespace thimble::testing_squeeze {

/// A candidate whose item i of the one task "t" scores scores[i] (0 or 1); items are clusters of their own.
inline Candidate candidate(const std::string& name, uint64_t bytes, const std::vector<double>& scores) {
  Candidate c;
  c.recipe.name = name;
  c.recipe.scheme = "q4_k_m";
  c.file_bytes = bytes;
  c.bits_per_weight = 4.9;
  c.body_bits_per_weight = 4.5;
  c.plan.fits = true;
  c.plan.total_bytes = bytes + 1000000;
  c.plan.available_bytes = 2000000000;
  c.plan.context = 512;
  c.plan.decode_tokens_per_s = 1e8 / static_cast<double>(bytes);
  c.plan.decode_watts = 3.2;
  TaskResult task{"t", Metric::exact, {}};
  for (size_t i = 0; i < scores.size(); ++i) {
    ItemResult item;
    item.id = "item-" + std::to_string(i);
    item.cluster = item.id;
    item.answer = scores[i] > 0.5 ? "right" : "wrong";
    item.scores[Metric::exact] = scores[i];
    task.items.push_back(item);
  }
  c.tasks.push_back(task);
  return c;
}

/// `n` scores of which the first `wrong` are 0 and the others 1.
inline std::vector<double> with_wrong(size_t n, size_t wrong) {
  std::vector<double> out(n, 1.0);
  for (size_t i = 0; i < wrong; ++i) out[i] = 0.0;
  return out;
}

/// The float model and candidates compared with it, judged and picked. Every text is `hostile` where it can be.
inline SqueezeResult result(const std::string& hostile) {
  SqueezeResult r;
  r.options.model = "models/" + hostile;
  r.options.device = "phone.toml";
  r.options.tasks = "tasks";
  r.options.output = "out";
  r.options.text = "text.txt";
  r.version = "0.0";
  r.model_name = "sample " + hostile;
  r.device.name = "Phone " + hostile;
  r.device.description = "A phone made up for a test.";
  TaskSet task;
  task.name = "t";
  task.metrics = {Metric::exact};
  task.primary = Metric::exact;
  task.data_hash = "0123456789abcdef";
  for (size_t i = 0; i < 200; ++i) {
    const std::string id = "item-" + std::to_string(i);
    task.items.push_back({id, id, {{"user", "Question " + hostile}}, {"right " + hostile}, {}});
  }
  r.tasks.push_back(task);
  r.baseline = candidate("float", 13'700'000, with_wrong(200, 0));
  r.baseline.hash = "feedbeef";
  const auto add = [&](const char* name, uint64_t bytes, size_t wrong, double kl) {
    Candidate c = candidate(name, bytes, with_wrong(200, wrong));
    for (ItemResult& item : c.tasks[0].items) item.answer += hostile;
    FidelityResult f;
    f.perplexity = {32.0 * (1 + kl), 0.5, 117, 29835};
    f.divergence = DivergenceResult{kl, kl / 2, kl * 5, kl * 20, 1.0 / (1.0 + 2 * kl), 32.0};
    c.fidelity = f;
    TaskFidelity answers;
    answers.task = "t";
    answers.n_tokens = 2000;
    answers.divergence = {kl / 2, kl / 4, kl * 3, kl * 10, 1.0 / (1.0 + kl), 1.2};
    answers.items.resize(200);
    answers.flipped_items = static_cast<int64_t>(200 * (1 - 1 / (1 + 10 * kl)));
    c.on_answers = {answers};
    r.candidates.push_back(c);
  };
  add("q8_0", 7'350'000, 0, 0.0003);
  add("q6_k", 5'700'000, 0, 0.0017);
  add("q5_k_m", 4'990'000, 0, 0.0043);
  add("q4_k_m", 4'330'000, 0, 0.0122);
  add("q4_k_s", 4'228'000, 0, 0.0136);
  add("iq4_nl", 4'212'000, 0, 0.0158);
  add("q4_0", 4'212'000, 1, 0.0198);
  add("iq4_xs", 4'032'000, 0, 0.0159);
  add("q3_k_m", 3'690'000, 3, 0.0386);
  add("q2_k", 3'040'000, 40, 0.1742);
  Candidate excluded = candidate("f16" + hostile, 13'700'000, {});
  excluded.tasks.clear();
  excluded.excluded = "does not fit " + hostile;
  r.candidates.push_back(excluded);
  conclude(r);
  return r;
}

}  // namespace thimble::testing_squeeze
