/* The C API used from C: compiled as C11 with -pedantic, so the header stays a C header. Called from capi_test.cpp;
 * returns 0, or the line of the first check that failed. */
#include <string.h>

#include "thimble/thimble.h"

#define CHECK(condition) \
  do {                   \
    if (!(condition)) {  \
      result = __LINE__; \
      goto done;         \
    }                    \
  } while (0)

int run_c_api_test(const char* model_path);

int run_c_api_test(const char* model_path) {
  int result = 0;
  thimble_model* model = NULL;
  thimble_session* session = NULL;
  thimble_session* sampled = NULL;
  thimble_model_options options = {1, "chatml", NULL};
  thimble_session_options settings = thimble_session_defaults();
  thimble_chat_message message = {"user", "hi"};
  int32_t ids[256];
  char text[512];
  size_t n = 0, needed = 0, i = 0;
  int32_t id = -1;
  thimble_status status = THIMBLE_OK;

  CHECK(thimble_version()[0] != '\0');
  CHECK(thimble_model_open("/no/such/file.gguf", NULL, &model) == THIMBLE_NOT_FOUND);
  CHECK(model == NULL);
  CHECK(strstr(thimble_last_error(), "/no/such/file.gguf") != NULL);
  options.chat_template = "no such template";
  CHECK(thimble_model_open(model_path, &options, &model) == THIMBLE_INVALID_ARGUMENT);
  options.chat_template = "chatml";
  CHECK(thimble_model_open(model_path, &options, &model) == THIMBLE_OK);
  CHECK(thimble_model_n_vocab(model) == 264);
  CHECK(thimble_model_n_ctx_train(model) == 128);

  /* A NULL buffer asks for the size. */
  n = 0;
  CHECK(thimble_tokenize(model, "hello", 0, NULL, &n) == THIMBLE_TOO_SMALL);
  needed = n;
  CHECK(needed > 1);
  n = needed - 1;
  CHECK(thimble_tokenize(model, "hello", 0, ids, &n) == THIMBLE_TOO_SMALL && n == needed);
  CHECK(thimble_tokenize(model, "hello", 0, ids, &n) == THIMBLE_OK && n == needed);
  CHECK(ids[0] == 1); /* BOS */
  needed = 256;
  CHECK(thimble_tokenize_chat(model, &message, 1, ids, &needed) == THIMBLE_OK && needed > n);
  message.role = "wizard";
  CHECK(thimble_tokenize_chat(model, &message, 1, ids, &needed) == THIMBLE_INVALID_ARGUMENT);

  CHECK(thimble_session_new(model, NULL, &session) == THIMBLE_OK);
  CHECK(thimble_session_next(session, &id) == THIMBLE_INVALID_ARGUMENT); /* nothing fed */
  n = 256;
  CHECK(thimble_tokenize(model, "hello", 0, ids, &n) == THIMBLE_OK);
  CHECK(thimble_session_set_prompt(session, ids, n) == THIMBLE_OK);
  CHECK(thimble_session_feed(session, ids + 1, 2) == THIMBLE_OK);
  for (i = 0; i < 8; ++i) {
    status = thimble_session_next(session, &id);
    CHECK(status == THIMBLE_OK || status == THIMBLE_END);
    CHECK(id >= 0 && id < 264);
  }
  n = 0;
  CHECK(thimble_session_text(session, NULL, &n) == THIMBLE_TOO_SMALL);
  needed = n;
  n = sizeof text;
  CHECK(thimble_session_text(session, text, &n) == THIMBLE_OK);
  CHECK(n == needed && strlen(text) == n); /* the first call took nothing away */
  n = sizeof text;
  CHECK(thimble_session_text(session, text, &n) == THIMBLE_OK && n == 0 && text[0] == '\0');

  thimble_session_cancel(session);
  CHECK(thimble_session_next(session, &id) == THIMBLE_CANCELLED);
  CHECK(thimble_session_set_prompt(session, ids, 2) == THIMBLE_CANCELLED);
  thimble_session_clear_cancel(session);
  CHECK(thimble_session_set_prompt(session, ids, 2) == THIMBLE_OK);
  CHECK(thimble_session_next(session, &id) != THIMBLE_CANCELLED);

  /* The session outlives the caller's handle of the model. */
  settings.n_ctx = 1 << 20;
  CHECK(thimble_session_new(model, &settings, &sampled) == THIMBLE_INVALID_ARGUMENT && sampled == NULL);
  settings.n_ctx = 4;
  settings.kv = THIMBLE_KV_INT8;
  settings.temperature = 1.0f;
  CHECK(thimble_session_new(model, &settings, &sampled) == THIMBLE_OK);
  thimble_model_free(model);
  model = NULL;
  CHECK(thimble_session_feed(sampled, ids, 3) == THIMBLE_OK);
  status = thimble_session_next(sampled, &id);
  CHECK(status == THIMBLE_OK || status == THIMBLE_END);
  CHECK(thimble_session_next(sampled, &id) == THIMBLE_RESOURCE_EXHAUSTED);
  CHECK(strstr(thimble_last_error(), "4 tokens") != NULL);
  id = 999999;
  CHECK(thimble_session_set_prompt(sampled, &id, 1) == THIMBLE_INVALID_ARGUMENT);

done:
  thimble_session_free(sampled);
  thimble_session_free(session);
  thimble_model_free(model);
  return result;
}
