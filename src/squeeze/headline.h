// The headline of a report: how often perplexity and KL divergence order the candidates differently than the tasks do.
#pragma once

#include <string>
#include <vector>

#include "squeeze/squeeze.h"

namespace thimble {

/// For each measure that at least two scored candidates have ("perplexity", "kl", "answers_kl"): its agreement with the
/// mean score over all items, then with that of each task (of "answers_kl" the task's own).
std::vector<OrderAgreement> order_agreement(std::span<const Candidate> candidates, double confidence);

/// "Perplexity orders 12 of 66 pairs of candidates differently than the tasks do (18 %, 95 % interval 9 to 30 %), ...".
std::string describe_agreement(const OrderAgreement& order, double confidence);

/// "perplexity", "KL divergence on the text" ..., for sentences.
std::string_view measure_title(const OrderAgreement& order) noexcept;

}  // namespace thimble
