// `thimble chat MODEL`: a conversation at the terminal, or one answer with -p. Text goes to standard output as it is
// made (whole UTF-8 sequences only), everything else to standard error.
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "base/error.h"
#include "base/json.h"
#include "exit_codes.h"
#include "packing.h"
#include "runtime/engine.h"
#include "standard_output.h"
#include "stopwatch.h"
#include "verbs.h"

namespace thimble::cli {

namespace {

using Clock = std::chrono::steady_clock;

struct ChatOptions {
  std::string model;
  std::string prompt;
  std::string system;
  std::string chat_template;
  std::string kv = "f16";
  int64_t n_ctx = 0;
  int64_t max_tokens = 0;  // 0: until the answer ends or the context is full
  bool raw = false;
  SamplingParams sampling;
  std::shared_ptr<const PackingFlags> packing;
};

struct Answer {
  std::string text;
  std::vector<TokenId> tokens;
  const char* finish = "stop";  // stop, length, context, cancelled
  int64_t prompt_tokens = 0, reused_tokens = 0;
  double prompt_seconds = 0, decode_seconds = 0;

  double prompt_speed() const {
    return prompt_seconds > 0 ? static_cast<double>(prompt_tokens - reused_tokens) / prompt_seconds : 0;
  }
  double decode_speed() const { return decode_seconds > 0 ? static_cast<double>(tokens.size()) / decode_seconds : 0; }
};

CancelToken* g_answer_cancel = nullptr;  // a signal handler can only reach a global

// While an answer is made, Ctrl-C stops it; a second one, or one at the prompt, ends the program the ordinary way.
void stop_answer(int signal_number) {
  g_answer_cancel->cancel();
  std::signal(signal_number, SIG_DFL);
}

class InterruptGuard {
 public:
  explicit InterruptGuard(CancelToken* cancel) {
    g_answer_cancel = cancel;
    std::signal(SIGINT, stop_answer);
  }
  ~InterruptGuard() { std::signal(SIGINT, SIG_DFL); }
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
};

class Chat {
 public:
  Chat(const Context& context, const ChatOptions& options, std::shared_ptr<const Engine> engine,
       const SessionOptions& session_options)
      : context_(context), options_(options), session_(std::move(engine), session_options) {
    forget();
  }

  void forget() {
    messages_.clear();
    if (!options_.system.empty()) messages_.push_back({"system", options_.system});
    session_.reset();
  }

  /// Answers `input` and streams the answer when `stream`. Errors: as Session::set_prompt (history unchanged).
  Answer answer(const std::string& input, bool stream) {
    if (options_.raw) {
      return run(session_.engine().tokenizer().encode_prompt(input, SpecialTokens::as_text), stream);
    }
    messages_.push_back({"user", input});
    try {
      Answer result = run(session_.engine().encode_chat(messages_), stream);
      messages_.push_back({"assistant", result.text});
      return result;
    } catch (...) {
      messages_.pop_back();
      throw;
    }
  }

 private:
  Answer run(const std::vector<TokenId>& prompt, bool stream) {
    Answer result;
    result.prompt_tokens = static_cast<int64_t>(prompt.size());
    Task task = context_.task();
    const Clock::time_point start = Clock::now();
    session_.set_prompt(prompt, task);
    task = {};  // takes the progress line away before text appears
    result.reused_tokens = session_.reused_tokens();
    result.prompt_seconds = seconds_since(start);

    StreamDecoder decoder(session_.engine().tokenizer());
    // Raw text goes on where the prompt ends: a leading space belongs to it.
    if (options_.raw) decoder.push(prompt.back());
    const auto emit = [&](const std::string& piece) {
      result.text += piece;
      if (!stream) return;
      // Nobody reads on after an error: the answer need not be made.
      print_checked([&] { std::fputs(piece.c_str(), stdout); });
    };
    const Clock::time_point decode_start = Clock::now();
    while ((result.finish = reason_to_stop(result)) == nullptr) {
      const std::optional<TokenId> token = session_.next();
      if (!token) {
        result.finish = "stop";
        break;
      }
      result.tokens.push_back(*token);
      emit(decoder.push(*token));
    }
    result.decode_seconds = seconds_since(decode_start);
    emit(decoder.finish());
    return result;
  }

  const char* reason_to_stop(const Answer& result) const {
    if (context_.cancel->cancelled()) return "cancelled";
    if (options_.max_tokens > 0 && static_cast<int64_t>(result.tokens.size()) >= options_.max_tokens) return "length";
    return static_cast<int64_t>(session_.tokens().size()) >= session_.n_ctx() ? "context" : nullptr;
  }

  const Context& context_;
  const ChatOptions& options_;
  Session session_;
  std::vector<ChatMessage> messages_;
};

void print_stats(const Context& context, const Answer& answer) {
  if (context.quiet) return;
  fmt::print(stderr, "[prompt {} tokens, {} reused, {:.1f} t/s; answer {} tokens, {:.1f} t/s; {}]\n",
             answer.prompt_tokens, answer.reused_tokens, answer.prompt_speed(), answer.tokens.size(),
             answer.decode_speed(), answer.finish);
}

void one_shot(Context& context, const ChatOptions& options, Chat& chat) {
  const Answer answer = chat.answer(options.prompt, !context.json);
  if (context.json) {
    const Json document = {{"model", options.model},
                           {"text", answer.text},
                           {"tokens", answer.tokens},
                           {"finish", answer.finish},
                           {"prompt_tokens", answer.prompt_tokens},
                           {"prompt_tokens_per_s", answer.prompt_speed()},
                           {"decode_tokens_per_s", answer.decode_speed()}};
    print_checked([&] { fmt::print("{}\n", document.dump(1, ' ', false, Json::error_handler_t::replace)); });
  } else {
    print_checked([] { fmt::print("\n"); });
    print_stats(context, answer);
  }
  if (context.cancel->cancelled()) context.exit_code = kExitCancelled;
}

// One line of standard input without its newline; false at its end. getline(3) and not std::getline: a signal must end
// the wait.
bool read_line(std::string& line) {
  char* buffer = nullptr;
  size_t capacity = 0;
  const ssize_t n = ::getline(&buffer, &capacity, stdin);
  if (n >= 0) line.assign(buffer, static_cast<size_t>(n));
  std::free(buffer);
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
  return n >= 0;
}

void interactive(Context& context, Chat& chat) {
  const bool terminal = ::isatty(STDIN_FILENO) == 1;
  std::signal(SIGTERM, SIG_DFL);  // no file can be torn here, and a read that waits for a line would not end
  if (terminal) fmt::print(stderr, "/reset forgets the conversation, /exit leaves; Ctrl-C stops an answer.\n");
  std::string line;
  for (;;) {
    std::signal(SIGINT, SIG_DFL);
    if (terminal) fmt::print(stderr, "> ");
    line.clear();
    if (!read_line(line) || line == "/exit") break;
    if (line == "/reset") {
      chat.forget();
      continue;
    }
    if (line.empty()) continue;
    const InterruptGuard guard(context.cancel);
    try {
      const Answer answer = chat.answer(line, true);
      fmt::print("\n");
      std::fflush(stdout);
      print_stats(context, answer);
    } catch (const Error& e) {
      // A prompt that was stopped or does not fit ends this answer, not the conversation.
      if (e.code() != ErrorCode::cancelled && e.code() != ErrorCode::resource_exhausted) throw;
      fmt::print(stderr, "{}{}\n", e.what(),
                 e.code() == ErrorCode::cancelled ? "" : " (/reset forgets the conversation)");
    }
    context.cancel->reset();
  }
}

void run_chat(Context& context, const ChatOptions& options, bool has_prompt) {
  if (context.json && !has_prompt) fail(ErrorCode::invalid_argument, "--json: expected a prompt with -p");
  if (options.raw && !has_prompt) fail(ErrorCode::invalid_argument, "--raw: expected a prompt with -p");
  validate(options.sampling);
  EngineOptions engine_options;
  engine_options.n_threads = context.n_threads;
  if (!options.chat_template.empty()) engine_options.chat_template = chat_template_from_name(options.chat_template);
  engine_options.packing = options.packing->options();
  const auto engine = Engine::open(options.model, engine_options, context.task());
  // A Ctrl-C while the model was loading means to leave, not to stop the first answer.
  if (context.cancel->cancelled()) fail(ErrorCode::cancelled, "chat: cancelled");
  if (!options.raw) engine->chat_template();  // an unknown template is an error before anybody types
  SessionOptions session_options;
  session_options.n_ctx = options.n_ctx;
  session_options.kv = options.kv == "int8" ? ops::KvType::int8 : ops::KvType::f16;
  session_options.sampling = options.sampling;
  Chat chat(context, options, engine, session_options);
  if (has_prompt) {
    one_shot(context, options, chat);
  } else {
    interactive(context, chat);
  }
}

}  // namespace

void add_chat(CLI::App& app, Context& context) {
  CLI::App* verb = app.add_subcommand("chat", "Talk to a model, or get one answer with -p.");
  auto options = std::make_shared<ChatOptions>();
  verb->add_option("model", options->model, "GGUF file")->required();
  CLI::Option* prompt = verb->add_option("-p,--prompt", options->prompt, "answer this and leave");
  verb->add_option("--system", options->system, "system message");
  verb->add_option("--template", options->chat_template, "chat template by name, instead of the model's own");
  verb->add_flag("--raw", options->raw, "continue the prompt as plain text, without a chat template");
  verb->add_option("--kv", options->kv, "key/value cache: f16 or int8")->check(CLI::IsMember({"f16", "int8"}));
  verb->add_option("-c,--ctx", options->n_ctx, "context in tokens; 0: the trained one, at most 4096");
  verb->add_option("-n,--max-tokens", options->max_tokens, "longest answer in tokens; 0: no limit")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 31));
  verb->add_option("--temp", options->sampling.temperature, "temperature; 0: greedy");
  verb->add_option("--top-k", options->sampling.top_k, "most likely tokens kept; 0: all");
  verb->add_option("--top-p", options->sampling.top_p, "probability kept; 1: all");
  verb->add_option("--min-p", options->sampling.min_p, "least probability relative to the most likely; 0: off");
  verb->add_option("--repeat-penalty", options->sampling.repetition_penalty, "penalty of recent tokens; 1: off");
  verb->add_option("--seed", options->sampling.seed, "seed of the sampler");
  options->packing = add_packing_flags(*verb);
  verb->callback([&context, options, prompt] { run_chat(context, *options, prompt->count() > 0); });
}

}  // namespace thimble::cli
