// Test program: greedy decoding with the numbers a comparison needs.
//   thimble_greedy MODEL.gguf < REQUEST > ANSWER     both JSON
//   thimble_greedy --synthetic llama|qwen2 OUT.gguf  writes a tiny random model with biases, rope scaling and a
//   vocabulary
//   thimble_greedy --fold IN.gguf OUT.gguf           the same function with random factors moved at every place
// REQUEST is an array of {"text": "..."} or {"chat": "..."} (tokenized here) or {"ids": [...]}, each with optional
// "follow": token ids another program chose. ANSWER has for each {"ids": prompt, "steps": [{"token": the arg max,
// "eog": whether it ends the answer, "gap": its logit minus the logit of the followed token}]}: every step continues
// from the followed token, or from the arg max when there is none.
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "format/gguf_writer.h"
#include "model/synthetic_model.h"
#include "quantize/fold_file.h"
#include "runtime/engine.h"

namespace thimble {
namespace {

constexpr size_t kSteps = 32;

std::vector<TokenId> prompt_ids(const Engine& engine, const Json& request) {
  if (request.contains("ids")) return request.at("ids").get<std::vector<TokenId>>();
  if (request.contains("chat")) {
    const ChatMessage message = {"user", request.at("chat").get<std::string>()};
    return engine.encode_chat(std::span(&message, 1));
  }
  return engine.tokenizer().encode_prompt(request.at("text").get<std::string>(), SpecialTokens::as_text);
}

Json decode(const std::shared_ptr<const Engine>& engine, const Json& request) {
  const std::vector<TokenId> ids = prompt_ids(*engine, request);
  const bool follows = request.contains("follow");
  const auto follow = request.value("follow", std::vector<TokenId>());
  Session session(engine, {});
  session.feed(ids);
  Json steps = Json::array();
  for (size_t i = 0; i < (follows ? follow.size() : kSteps); ++i) {
    const TokenId best = argmax(session.logits());
    const TokenId next = follows ? follow[i] : best;
    const auto logit = [&](TokenId id) { return session.logits()[static_cast<size_t>(id)]; };
    const bool eog = engine->tokenizer().is_end_of_generation(best);
    if (next < 0 || next >= engine->config().n_vocab) fail(ErrorCode::invalid_argument, "follow: id {}", next);
    steps.push_back({{"token", best}, {"eog", eog}, {"gap", logit(best) - logit(next)}});
    session.feed(std::span(&next, 1));
  }
  return {{"ids", ids}, {"steps", steps}};
}

void write_synthetic(const std::string& architecture, const std::string& path) {
  ModelConfig c;
  c.architecture = architecture;
  c.name = "synthetic " + architecture;
  c.n_layer = 3;
  c.n_embd = 128;
  c.n_head = 4;
  c.n_head_kv = 2;
  c.head_dim = 32;
  c.n_rot = 32;
  c.n_ff = 192;
  c.n_vocab = 512;
  c.n_ctx_train = 256;
  c.rope_freq_scale = 0.5f;  // linear
  c.has_qkv_bias = architecture == "qwen2";
  SyntheticOptions options;
  options.vocabulary = true;
  if (architecture == "llama") options.rope_factors = {1, 1, 1, 1.2f, 1.5f, 2, 3, 4, 6, 8, 8, 8, 8, 8, 8, 8};
  ThreadPool pool(1);
  const auto tensors = synthetic_tensors(c, TensorType::f16, architecture == "qwen2");
  const SyntheticModel model = make_synthetic_model(c, tensors, options, pool);
  write_file_atomically(path, {reinterpret_cast<const char*>(model.image.data()), model.image.size()});
}

void write_float(const std::string& in_path, const std::string& out_path) {
  const GgufFile in = GgufFile::open(in_path);
  GgufMetadata metadata;
  for (const GgufKeyValue& entry : in.metadata()) metadata.set(entry);
  metadata.set_uint32("general.file_type", 1);  // mostly F16
  std::vector<GgufTensorPlan> plans;
  for (const GgufTensor& t : in.tensors()) {
    const TensorType type = traits(t.view.type).is_quantized ? TensorType::f16 : t.view.type;
    plans.push_back({std::string(t.name), type, t.n_dims, t.view.ne});
  }
  GgufWriter writer(out_path, metadata, plans);
  for (const GgufTensor& t : in.tensors()) {
    const TypeTraits& type = traits(t.view.type);
    if (!type.is_quantized) {
      writer.write(t.view.data);
      continue;
    }
    std::vector<float> values(static_cast<size_t>(t.view.n_elements()));
    std::vector<std::byte> halves(values.size() * 2);
    type.decode(t.view.data.data(), values.data(), t.view.n_elements());
    traits(TensorType::f16).encode(values.data(), nullptr, halves.data(), t.view.n_elements());
    writer.write(halves);
  }
  writer.commit();
}

// Factors between 1/4 and 4, by a fixed generator.
void write_random_fold(const std::string& in_path, const std::string& out_path) {
  const GgufFile in = GgufFile::open(in_path);
  FoldPlan plan;
  uint32_t state = 1;
  for (const FoldSite& site : fold_sites(read_model_config(in), in).sites) {
    std::vector<float> factors(static_cast<size_t>(site.n));
    for (float& factor : factors) {
      state = state * 1664525u + 1013904223u;
      factor = std::exp2(static_cast<float>(state >> 20) / 1024.0f - 2.0f);
    }
    tie_factors(site, TieBy::mean, factors);
    compose(&plan, plan_of_site(site, factors));
  }
  write_folded(in, plan, out_path);
}

int run(int argc, char** argv) {
  if (argc == 4 && std::string(argv[1]) == "--fold") {
    write_random_fold(argv[2], argv[3]);
    return 0;
  }
  if (argc == 4 && std::string(argv[1]) == "--float") {
    write_float(argv[2], argv[3]);
    return 0;
  }
  if (argc == 4 && std::string(argv[1]) == "--synthetic") {
    write_synthetic(argv[2], argv[3]);
    return 0;
  }
  if (argc != 2) fail(ErrorCode::invalid_argument, "usage: thimble_greedy MODEL < REQUEST");
  const std::string text{std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
  EngineOptions options;
  options.n_threads = 1;  // steady beside other tests
  const auto engine = Engine::open(argv[1], options);
  Json answers = Json::array();
  for (const Json& request : parse_json(text, "standard input")) answers.push_back(decode(engine, request));
  std::cout << answers.dump() << "\n";
  return 0;
}

}  // namespace
}  // namespace thimble

int main(int argc, char** argv) {
  try {
    return thimble::run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "thimble_greedy: %s\n", e.what());
    return 1;
  }
}
