// Test program: every instruction set of this machine, and packed weights as well as the GGUF layout, give the same
// greedy tokens and the same bits of every logit.
//   thimble_isa_agreement [--logits] MODEL.gguf [SCHEME ...]   the model as it is; with schemes also each quantized
//   form
// --logits compares nothing and prints a hash of all logits, which machines of other architectures are to have too.
// Exit status 1 on any difference. Nothing less would keep tokens the same: activations are rounded to bytes, and a sum
// that ends in another bit now and then becomes another byte, which the layers amplify to 0.1 of a logit.
#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "base/cpu_topology.h"
#include "base/error.h"
#include "base/hash.h"
#include "quantize/quantize.h"
#include "runtime/engine.h"

namespace thimble {
namespace {

constexpr size_t kSteps = 32;
constexpr const char* kPrompts[] = {
    "The meeting began at nine. The project manager said that",
    "def add(a, b):\n    return",
    "Translate to English: 김치찌개",
    "Once upon a time there was a small fox who",
    "Fix a crash when the list is empty",
};

struct Timeline {
  std::vector<TokenId> prompt, answer;
  std::vector<std::vector<float>> logits;  // before each token of the answer
};

std::shared_ptr<const Engine> open_engine(const std::string& path, kernels::Isa isa, PackPolicy packing) {
  EngineOptions options;
  options.isa = isa;
  options.packing.policy = packing;
  return Engine::open(path, options);
}

std::vector<Timeline> decode(const std::shared_ptr<const Engine>& engine) {
  std::vector<Timeline> out;
  for (const char* text : kPrompts) {
    Timeline t;
    t.prompt = engine->tokenizer().encode_prompt(text, SpecialTokens::as_text);
    Session session(engine, {});
    session.feed(t.prompt);
    for (size_t i = 0; i < kSteps; ++i) {
      t.logits.emplace_back(session.logits().begin(), session.logits().end());
      t.answer.push_back(argmax(session.logits()));
      session.feed(std::span(&t.answer.back(), 1));
    }
    out.push_back(std::move(t));
  }
  return out;
}

struct Agreement {
  size_t tokens = 0, other_tokens = 0, other_logits = 0;
  float widest = 0;  // difference between two logits of the same place
};

Agreement follow(const std::shared_ptr<const Engine>& engine, const std::vector<Timeline>& timelines) {
  Agreement out;
  for (const Timeline& t : timelines) {
    Session session(engine, {});
    session.feed(t.prompt);
    for (size_t i = 0; i < t.answer.size(); ++i) {
      ++out.tokens;
      if (argmax(session.logits()) != t.answer[i]) ++out.other_tokens;
      for (size_t id = 0; id < t.logits[i].size(); ++id) {
        const float difference = std::abs(session.logits()[id] - t.logits[i][id]);
        if (!(difference == 0.0f)) ++out.other_logits;
        out.widest = std::max(out.widest, difference);
      }
      session.feed(std::span(&t.answer[i], 1));
    }
  }
  return out;
}

// What the same model is known by on machines of other architectures.
std::string fingerprint(const std::vector<Timeline>& timelines) {
  ContentHasher hasher;
  for (const Timeline& t : timelines) {
    for (const std::vector<float>& logits : t.logits) hasher.update(std::as_bytes(std::span(logits)));
  }
  return hasher.hash();
}

// Prints the hash of all logits, or one line per instruction set and layout: false when one of them disagrees.
bool compare(const std::string& path, const std::string& label, bool only_logits) {
  const kernels::Isa best = kernels::best_isa(host_cpu());
  const std::vector<Timeline> timelines = decode(open_engine(path, best, PackPolicy::memory));
  if (only_logits) {
    fmt::print("{}: logits {}\n", label, fingerprint(timelines));
    return true;
  }
  bool ok = true;
  for (const kernels::Isa isa : kernels::fallbacks(best)) {
    for (const PackPolicy packing : {PackPolicy::memory, PackPolicy::none}) {
      const Agreement a = follow(open_engine(path, isa, packing), timelines);
      fmt::print("{}: {}, {} layout: {} tokens, {} differ; {} logits differ, at most by {}\n", label,
                 kernels::isa_name(isa), packing == PackPolicy::none ? "GGUF" : "packed", a.tokens, a.other_tokens,
                 a.other_logits, a.widest);
      ok = ok && a.tokens > 0 && a.other_tokens == 0 && a.other_logits == 0;
    }
  }
  return ok;
}

bool compare_scheme(const std::string& path, const std::string& scheme, bool only_logits) {
  const std::string quantized =
      (std::filesystem::temp_directory_path() / fmt::format("thimble_isa_{}_{}.gguf", ::getpid(), scheme)).string();
  ThreadPool pool(usable_cpu_count());
  (void)quantize(GgufFile::open(path), quantized, recipe_from_scheme(scheme), {}, pool);
  const bool ok = compare(quantized, scheme, only_logits);
  std::filesystem::remove(quantized);
  return ok;
}

int run(std::vector<std::string> arguments) {
  const bool only_logits = !arguments.empty() && arguments.front() == "--logits";
  if (only_logits) arguments.erase(arguments.begin());
  if (arguments.empty()) {
    std::fputs("usage: thimble_isa_agreement [--logits] MODEL.gguf [SCHEME ...]\n", stderr);
    return 2;
  }
  const std::string& model = arguments.front();
  bool ok = compare(model, "as is", only_logits);
  for (size_t i = 1; i < arguments.size(); ++i) ok = compare_scheme(model, arguments[i], only_logits) && ok;
  return ok ? 0 : 1;
}

}  // namespace
}  // namespace thimble

int main(int argc, char** argv) {
  try {
    return thimble::run({argv + 1, argv + argc});
  } catch (const std::exception& e) {
    fmt::print(stderr, "thimble_isa_agreement: {}\n", e.what());
    return 1;
  }
}
