// The C API over Engine and Session. guard() is the one try/catch of the ABI: nothing is thrown across it.
#include "thimble/thimble.h"

#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "device/plan.h"
#include "device/profile.h"
#include "runtime/engine.h"

#ifndef THIMBLE_VERSION
#error "THIMBLE_VERSION comes from the build"
#endif

struct thimble_model {
  std::shared_ptr<const thimble::Engine> engine;
};

struct thimble_session {
  thimble_session(std::shared_ptr<const thimble::Engine> engine, const thimble::SessionOptions& options)
      : session(std::move(engine), options), decoder(session.engine().tokenizer()) {}

  void restart_text() {
    decoder = thimble::StreamDecoder(session.engine().tokenizer());
    text.clear();
  }

  thimble::Session session;
  thimble::StreamDecoder decoder;
  std::string text;  // decoded, not yet taken
};

namespace {

using thimble::ErrorCode;
using thimble::fail;

// The message and what thimble_last_error() returns of it: the literal when even the copy found no memory.
struct LastError {
  std::string text;
  const char* shown = "";

  void set(const char* message) noexcept {
    try {
      text = message;
      shown = text.c_str();
    } catch (...) {
      shown = "out of memory";
    }
  }
};
thread_local LastError t_last_error;

thimble_status status_of(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::invalid_argument:
      return THIMBLE_INVALID_ARGUMENT;
    case ErrorCode::not_found:
      return THIMBLE_NOT_FOUND;
    case ErrorCode::corrupt:
      return THIMBLE_CORRUPT;
    case ErrorCode::unsupported:
      return THIMBLE_UNSUPPORTED;
    case ErrorCode::resource_exhausted:
      return THIMBLE_RESOURCE_EXHAUSTED;
    case ErrorCode::io:
      return THIMBLE_IO;
    case ErrorCode::cancelled:
      return THIMBLE_CANCELLED;
    case ErrorCode::internal:
      return THIMBLE_INTERNAL;
  }
  return THIMBLE_INTERNAL;
}

template <typename Body>
thimble_status guard(Body&& body) noexcept {
  try {
    return body();
  } catch (const thimble::Error& e) {
    t_last_error.set(e.what());
    return status_of(e.code());
  } catch (const std::bad_alloc&) {
    t_last_error.set("out of memory");
    return THIMBLE_RESOURCE_EXHAUSTED;
  } catch (const std::exception& e) {
    t_last_error.set(e.what());
    return THIMBLE_INTERNAL;
  } catch (...) {
    t_last_error.set("unknown error");
    return THIMBLE_INTERNAL;
  }
}

void require(const void* pointer, const char* name) {
  if (pointer == nullptr) fail(ErrorCode::invalid_argument, "{}: found NULL, expected a pointer", name);
}

thimble_status too_small(size_t found, size_t needed) {
  t_last_error.set(fmt::format("buffer: found room for {}, expected {}", found, needed).c_str());
  return THIMBLE_TOO_SMALL;
}

thimble_status give_tokens(const std::vector<thimble::TokenId>& tokens, int32_t* ids, size_t* n) {
  const size_t capacity = std::exchange(*n, tokens.size());
  if (capacity < tokens.size()) return too_small(capacity, tokens.size());
  if (!tokens.empty()) {
    require(ids, "ids");
    std::memcpy(ids, tokens.data(), tokens.size() * sizeof(int32_t));
  }
  return THIMBLE_OK;
}

thimble::ops::KvType kv_type(int32_t kv) {
  switch (kv) {
    case THIMBLE_KV_F16:
      return thimble::ops::KvType::f16;
    case THIMBLE_KV_INT8:
      return thimble::ops::KvType::int8;
    default:
      fail(ErrorCode::invalid_argument, "kv: found {}, expected THIMBLE_KV_F16 or THIMBLE_KV_INT8", kv);
  }
}

thimble::SessionOptions session_options(const thimble_session_options& in) {
  thimble::SessionOptions out;
  if (in.n_ctx < 0) fail(ErrorCode::invalid_argument, "n_ctx: found {}, expected 0 or more", in.n_ctx);
  out.n_ctx = in.n_ctx;
  out.kv = kv_type(in.kv);
  out.sampling.temperature = in.temperature;
  out.sampling.top_k = in.top_k;
  out.sampling.top_p = in.top_p;
  out.sampling.min_p = in.min_p;
  out.sampling.repetition_penalty = in.repetition_penalty;
  out.sampling.seed = in.seed;
  return out;
}

std::span<const thimble::TokenId> token_span(const int32_t* ids, size_t n) {
  if (n > 0) require(ids, "ids");
  return {ids, n};
}

}  // namespace

extern "C" {

const char* thimble_version(void) {
  return THIMBLE_VERSION;
}

const char* thimble_last_error(void) {
  return t_last_error.shown;
}

thimble_status thimble_model_open(const char* path, const thimble_model_options* options, thimble_model** out) {
  return guard([&] {
    require(path, "path");
    require(out, "out");
    *out = nullptr;
    thimble::EngineOptions engine_options;
    if (options != nullptr) {
      engine_options.n_threads = options->n_threads;
      if (options->chat_template != nullptr) {
        engine_options.chat_template = thimble::chat_template_from_name(options->chat_template);
      }
      if (options->packed_folder != nullptr) {
        engine_options.packing.policy = thimble::PackPolicy::sidecar;
        engine_options.packing.folder = options->packed_folder;
      }
    }
    *out = std::make_unique<thimble_model>(thimble_model{thimble::Engine::open(path, engine_options)}).release();
    return THIMBLE_OK;
  });
}

void thimble_model_free(thimble_model* model) {
  delete model;
}

int32_t thimble_model_n_vocab(const thimble_model* model) {
  return model == nullptr ? 0 : static_cast<int32_t>(model->engine->config().n_vocab);
}

int64_t thimble_model_n_ctx_train(const thimble_model* model) {
  return model == nullptr ? 0 : model->engine->config().n_ctx_train;
}

thimble_status thimble_plan(const thimble_model* model, const char* device, int64_t n_ctx, int32_t kv,
                            thimble_plan_result* out) {
  return guard([&] {
    require(model, "model");
    require(device, "device");
    require(out, "out");
    const thimble::DeviceProfile profile = thimble::read_device_profile(device);
    const thimble::DevicePlan plan =
        thimble::make_plan(thimble::footprint(model->engine->gguf()), profile, n_ctx, kv_type(kv),
                           thimble::SessionOptions{}.n_batch, model->engine->pool().n_threads());
    *out = {plan.weight_bytes,    plan.kv_bytes,        plan.activation_bytes,     plan.total_bytes,
            plan.available_bytes, plan.largest_context, plan.prefill_tokens_per_s, plan.decode_tokens_per_s,
            plan.decode_watts,    plan.fits ? 1 : 0};
    return THIMBLE_OK;
  });
}

thimble_status thimble_tokenize(const thimble_model* model, const char* text, int32_t parse_special, int32_t* ids,
                                size_t* n) {
  return guard([&] {
    require(model, "model");
    require(text, "text");
    require(n, "n");
    const auto special = parse_special != 0 ? thimble::SpecialTokens::parse : thimble::SpecialTokens::as_text;
    return give_tokens(model->engine->tokenizer().encode_prompt(text, special), ids, n);
  });
}

thimble_status thimble_tokenize_chat(const thimble_model* model, const thimble_chat_message* messages,
                                     size_t n_messages, int32_t* ids, size_t* n) {
  return guard([&] {
    require(model, "model");
    require(messages, "messages");
    require(n, "n");
    std::vector<thimble::ChatMessage> conversation;
    for (size_t i = 0; i < n_messages; ++i) {
      require(messages[i].role, "role");
      require(messages[i].content, "content");
      conversation.push_back({messages[i].role, messages[i].content});
    }
    return give_tokens(model->engine->encode_chat(conversation), ids, n);
  });
}

thimble_session_options thimble_session_defaults(void) {
  return {0, THIMBLE_KV_F16, 0.0f, 0, 1.0f, 0.0f, 1.0f, 0};
}

thimble_status thimble_session_new(const thimble_model* model, const thimble_session_options* options,
                                   thimble_session** out) {
  return guard([&] {
    require(model, "model");
    require(out, "out");
    *out = nullptr;
    const thimble_session_options defaults = thimble_session_defaults();
    const thimble::SessionOptions session = session_options(options != nullptr ? *options : defaults);
    *out = std::make_unique<thimble_session>(model->engine, session).release();
    return THIMBLE_OK;
  });
}

void thimble_session_free(thimble_session* session) {
  delete session;
}

thimble_status thimble_session_set_prompt(thimble_session* session, const int32_t* ids, size_t n) {
  return guard([&] {
    require(session, "session");
    session->session.set_prompt(token_span(ids, n));
    session->restart_text();
    return THIMBLE_OK;
  });
}

thimble_status thimble_session_feed(thimble_session* session, const int32_t* ids, size_t n) {
  return guard([&] {
    require(session, "session");
    session->session.feed(token_span(ids, n));
    return THIMBLE_OK;
  });
}

thimble_status thimble_session_next(thimble_session* session, int32_t* id) {
  return guard([&] {
    require(session, "session");
    require(id, "id");
    const std::optional<thimble::TokenId> token = session->session.next();
    *id = session->session.tokens().back();
    session->text += token ? session->decoder.push(*token) : session->decoder.finish();
    return token ? THIMBLE_OK : THIMBLE_END;
  });
}

thimble_status thimble_session_text(thimble_session* session, char* text, size_t* size) {
  return guard([&] {
    require(session, "session");
    require(size, "size");
    const std::string& ready = session->text;
    const size_t capacity = std::exchange(*size, ready.size());
    if (capacity <= ready.size()) return too_small(capacity, ready.size() + 1);
    require(text, "text");
    std::memcpy(text, ready.c_str(), ready.size() + 1);
    session->text.clear();
    return THIMBLE_OK;
  });
}

void thimble_session_cancel(thimble_session* session) {
  if (session != nullptr) session->session.cancel();
}

void thimble_session_clear_cancel(thimble_session* session) {
  if (session != nullptr) session->session.clear_cancel();
}

}  // extern "C"
