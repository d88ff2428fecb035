// Engine: the immutable half of the runtime.
#include "runtime/engine.h"

#include "base/cpu.h"
#include "base/cpu_topology.h"
#include "base/error.h"
#include "kernels/kernel_check.h"

namespace thimble {

Engine::Engine(GgufFile gguf, const EngineOptions& options, const Task& task)
    : gguf_(std::move(gguf)),
      model_(gguf_, options.isa.value_or(kernels::best_isa(host_cpu()))),
      tokenizer_(gguf_),
      chat_template_(options.chat_template),
      pool_(std::make_unique<ThreadPool>(options.n_threads == 0 ? usable_cpu_count() : options.n_threads)) {
  if (tokenizer_.n_vocab() != config().n_vocab) {
    fail(ErrorCode::corrupt, "{}: tokenizer: found {} tokens, expected {}, the rows of token_embd.weight",
         gguf_.source(), tokenizer_.n_vocab(), config().n_vocab);
  }
  if (const std::string_view wrong = kernels::wrong_amx_kernel(); !wrong.empty()) {
    task.say(LogLevel::warning, "AMX of this processor ({}) is not used: {} differs from the scalar kernel",
             cpu_model_name(), wrong);
  }
  // Last: minutes of packing must not end in an error that was there before.
  model_.use_packed(options.packed != nullptr ? options.packed
                                              : load_packed(gguf_, plan_packing(model_.matrices(), model_.isa()),
                                                            options.packing, *pool_, task));
}

std::shared_ptr<const Engine> Engine::open(const std::string& path, const EngineOptions& options, const Task& task) {
  return from_gguf(GgufFile::open(path), options, task);
}

std::shared_ptr<const Engine> Engine::from_gguf(GgufFile gguf, const EngineOptions& options, const Task& task) {
  // Not make_shared: the constructor is private.
  return std::shared_ptr<const Engine>(new Engine(std::move(gguf), options, task));
}

ChatTemplate Engine::chat_template() const {
  return chat_template_ ? *chat_template_ : detect_chat_template(gguf_);
}

std::vector<TokenId> Engine::encode_chat(std::span<const ChatMessage> messages) const {
  return thimble::encode_chat(tokenizer_, render_chat(chat_template(), messages, true));
}

}  // namespace thimble
