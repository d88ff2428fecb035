// Test program: what int8 keys and values change beside f16 ones, token by token.
//   thimble_kv_quality MODEL TEXT N_CTX [--prompts TASK.jsonl] [--items N] [--question "..."] [--damage FACTOR]
// TEXT is scored in one context of N_CTX tokens; its second half counts ("long context"). Answers are greedy under f16
// and followed under int8: to the items of a task, or to the question put after three quarters of N_CTX tokens of TEXT.
// --damage multiplies the scales of one layer's keys and values, as a control that the figures notice.
// Prints one JSON object: {"text": {...}, "answers": {...}}; KL in nats per token, KL(f16 || int8). A step of an answer
// where int8 prefers another token has a gap: that token's logit minus the logit of the one that f16 chose.
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "eval/fidelity.h"
#include "model/logit_divergence.h"
#include "model/model.h"
#include "runtime/engine.h"

namespace thimble {
namespace {

constexpr int64_t kChunk = 64;
constexpr size_t kAnswer = 64;

struct Arguments {
  std::string model, text, prompts, question;
  int64_t n_ctx = 0, items = 16;
  float damage = 1.0f;
};

Arguments parse(int argc, char** argv) {
  if (argc < 4 || argc % 2 != 0) fail(ErrorCode::invalid_argument, "usage: thimble_kv_quality MODEL TEXT N_CTX ...");
  Arguments a;
  a.model = argv[1];
  a.text = argv[2];
  a.n_ctx = std::stoll(argv[3]);
  for (int i = 4; i < argc; i += 2) {
    const std::string name = argv[i];
    if (name == "--prompts") {
      a.prompts = argv[i + 1];
    } else if (name == "--items") {
      a.items = std::stoll(argv[i + 1]);
    } else if (name == "--question") {
      a.question = argv[i + 1];
    } else if (name == "--damage") {
      a.damage = std::stof(argv[i + 1]);
    } else {
      fail(ErrorCode::invalid_argument, "unknown option {}", name);
    }
  }
  return a;
}

// A timeline under one type of cache.
class Run {
 public:
  Run(const Engine& engine, ops::KvType type, int64_t n_ctx, float damage)
      : config_(engine.config()),
        cache_(config_, type, n_ctx),
        forward_(engine.model(), engine.pool(), kChunk, n_ctx),
        damage_(damage) {}

  void reset() { pos_ = 0; }
  std::span<const float> feed(std::span<const TokenId> tokens) {
    const auto logits = forward_.run(tokens, pos_, cache_, LogitsFor::all);
    const int64_t n = static_cast<int64_t>(tokens.size());
    if (damage_ != 1.0f) damage(pos_, pos_ + n);
    pos_ += n;
    return logits;
  }

 private:
  void damage(int64_t begin, int64_t end) {
    const ops::KvLayer& layer = cache_.layer(config_.n_layer / 2);
    for (int64_t h = 0; h < config_.n_head_kv; ++h) {
      for (int64_t pos = begin; pos < end; ++pos) {
        layer.k.scales[h * layer.n_ctx + pos] *= damage_;
        layer.v.scales[h * layer.n_ctx + pos] *= damage_;
      }
    }
  }

  const ModelConfig& config_;
  KvCache cache_;
  ForwardPass forward_;
  float damage_;
  int64_t pos_ = 0;
};

class Comparison {
 public:
  Comparison(const std::shared_ptr<const Engine>& engine, const Arguments& a)
      : engine_(engine),
        n_vocab_(static_cast<size_t>(engine->config().n_vocab)),
        halves_(*engine, ops::KvType::f16, a.n_ctx, 1.0f),
        bytes_(*engine, ops::KvType::int8, a.n_ctx, a.damage) {}

  // Divergences of the positions of `ids`.
  std::vector<double> text(std::span<const TokenId> ids) {
    std::vector<double> kl;
    each(ids, [&](std::span<const float> f16, std::span<const float> int8) {
      kl.push_back(kl_divergence(f16, int8));
      same_top_ += argmax(f16) == argmax(int8) ? 1 : 0;
    });
    return kl;
  }

  // Follows the greedy answer to `prompt`; adds its steps to the figures.
  void answer(std::span<const TokenId> prompt) {
    TokenId next = 0;
    double kl = 0.0, gap = 0.0;
    const auto look = [&](std::span<const float> f16, std::span<const float> int8) {
      next = argmax(f16);
      kl = kl_divergence(f16, int8);
      gap = static_cast<double>(int8[static_cast<size_t>(argmax(int8))] - int8[static_cast<size_t>(next)]);
    };
    each(prompt, look);
    double worst = 0.0;
    for (size_t i = 0; i < kAnswer; ++i) {
      answer_kl_.push_back(kl);
      worst = std::max(worst, gap);
      if (engine_->tokenizer().is_end_of_generation(next)) break;
      const TokenId fed = next;
      const auto f16 = halves_.feed(std::span(&fed, 1));
      look(f16, bytes_.feed(std::span(&fed, 1)));
    }
    gaps_.push_back(worst);
  }

  size_t same_top() const { return same_top_; }
  const std::vector<double>& answer_kl() const { return answer_kl_; }
  const std::vector<double>& gaps() const { return gaps_; }

 private:
  template <typename Look>
  void each(std::span<const TokenId> ids, const Look& look) {
    halves_.reset();
    bytes_.reset();
    for (size_t at = 0; at < ids.size(); at += kChunk) {
      const auto part = ids.subspan(at, std::min<size_t>(kChunk, ids.size() - at));
      const auto f16 = halves_.feed(part);
      const auto int8 = bytes_.feed(part);
      for (size_t t = 0; t < part.size(); ++t)
        look(f16.subspan(t * n_vocab_, n_vocab_), int8.subspan(t * n_vocab_, n_vocab_));
    }
  }

  std::shared_ptr<const Engine> engine_;
  size_t n_vocab_;
  Run halves_, bytes_;
  size_t same_top_ = 0;
  std::vector<double> answer_kl_, gaps_;
};

Json summary(std::vector<double> kl) {
  std::sort(kl.begin(), kl.end());
  double sum = 0.0;
  for (const double x : kl) sum += x;
  const auto n = kl.size();
  return {
      {"tokens", n}, {"mean_kl", sum / static_cast<double>(n)}, {"p99_kl", kl[n * 99 / 100]}, {"max_kl", kl.back()}};
}

std::vector<std::vector<TokenId>> prompts(const Engine& engine, const Arguments& a, const std::string& text) {
  std::vector<std::vector<TokenId>> out;
  if (!a.question.empty()) {
    // As many characters as fill the share of the context, found by encoding more than enough.
    const auto ids =
        engine.tokenizer().encode_prompt(text.substr(0, static_cast<size_t>(a.n_ctx) * 8), SpecialTokens::as_text);
    const size_t share = static_cast<size_t>(a.n_ctx) * 3 / 4;
    const size_t n_chars = static_cast<size_t>(a.n_ctx) * 8 * share / std::max(ids.size(), share);
    const ChatMessage message = {"user", text.substr(0, n_chars) + "\n\n" + a.question};
    out.push_back(engine.encode_chat(std::span(&message, 1)));
  }
  if (a.prompts.empty()) return out;
  std::ifstream file(a.prompts);
  for (std::string line; std::getline(file, line) && static_cast<int64_t>(out.size()) < a.items;) {
    const Json item = parse_json(line, a.prompts);
    std::vector<ChatMessage> messages;
    for (const Json& m : item.at("messages")) {
      messages.push_back({m.at("role").get<std::string>(), m.at("content").get<std::string>()});
    }
    out.push_back(engine.encode_chat(messages));
  }
  return out;
}

int run(int argc, char** argv) {
  const Arguments a = parse(argc, argv);
  const auto engine = Engine::open(a.model, {});
  const MappedFile file(a.text);
  const std::string text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  Comparison comparison(engine, a);
  auto ids =
      engine->tokenizer().encode_prompt(text.substr(0, static_cast<size_t>(a.n_ctx) * 8), SpecialTokens::as_text);
  if (static_cast<int64_t>(ids.size()) < a.n_ctx) fail(ErrorCode::invalid_argument, "text: {} tokens only", ids.size());
  ids.resize(static_cast<size_t>(a.n_ctx));
  const auto kl = comparison.text(ids);
  Json out = {{"text", summary({kl.begin() + static_cast<std::ptrdiff_t>(kl.size() / 2), kl.end()})}};
  out["text"]["max_kl"] = *std::max_element(kl.begin(), kl.end());
  out["text"]["same_top"] = static_cast<double>(comparison.same_top()) / static_cast<double>(kl.size());
  for (const auto& prompt : prompts(*engine, a, text)) comparison.answer(prompt);
  out["answers"] = summary(comparison.answer_kl());
  out["answers"]["gaps"] = comparison.gaps();
  std::cout << out.dump() << "\n";
  return 0;
}

}  // namespace
}  // namespace thimble

int main(int argc, char** argv) {
  try {
    return thimble::run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "thimble_kv_quality: %s\n", e.what());
    return 1;
  }
}
