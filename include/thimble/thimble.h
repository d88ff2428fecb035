/* Thimble's C API: the only stable ABI.
 *
 * Conventions
 *  (1) Handles are opaque. What an _open or _new function gave goes to its _free function, which accepts NULL.
 *  (2) Functions that can fail return thimble_status; THIMBLE_OK is 0. thimble_last_error() gives the message of the
 *      last failure on the calling thread: file, key, what was found, what was expected.
 *  (3) Strings are UTF-8, NUL-terminated. Buffers are given by the caller with their capacity; the needed size comes
 *      back through the size argument even when the buffer is too small (status THIMBLE_TOO_SMALL). A buffer may be
 *      NULL when its capacity is 0: that asks for the size.
 *  (4) A model may be shared by threads. A session belongs to one thread at a time, except thimble_session_cancel().
 *  (5) Nothing here prints, exits, aborts or reads the environment. A NULL where a pointer is needed is
 *      THIMBLE_INVALID_ARGUMENT, never a crash.
 */
#ifndef THIMBLE_THIMBLE_H
#define THIMBLE_THIMBLE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct thimble_model thimble_model;
typedef struct thimble_session thimble_session;

typedef enum thimble_status {
  THIMBLE_OK = 0,
  THIMBLE_INVALID_ARGUMENT = 1,
  THIMBLE_NOT_FOUND = 2,
  THIMBLE_CORRUPT = 3,
  THIMBLE_UNSUPPORTED = 4,
  THIMBLE_RESOURCE_EXHAUSTED = 5, /* memory, disk or context limit */
  THIMBLE_IO = 6,
  THIMBLE_CANCELLED = 7,
  THIMBLE_INTERNAL = 8,
  THIMBLE_TOO_SMALL = 9, /* the caller's buffer; the needed size was stored */
  THIMBLE_END = 10       /* thimble_session_next: the generation ended */
} thimble_status;

/* Arguments of this kind are int32_t: any value a caller passes is then an error and never undefined. */
typedef enum thimble_kv_type { THIMBLE_KV_F16 = 0, THIMBLE_KV_INT8 = 1 } thimble_kv_type;

/* Version of the library, for example "0.1.0". */
const char* thimble_version(void);

/* Message of the last failure on this thread; "" when there was none. Valid until the next call on this thread. */
const char* thimble_last_error(void);

typedef struct thimble_model_options {
  int32_t n_threads;         /* 0: every usable processor */
  const char* chat_template; /* NULL: the model's own */
  /* Folder for files of packed weights, made when missing: packed once, mapped by later loads, shared by
   * processes. NULL: weights are packed into memory at each load. */
  const char* packed_folder;
} thimble_model_options;

/* Loads a GGUF file. options may be NULL. */
thimble_status thimble_model_open(const char* path, const thimble_model_options* options, thimble_model** out);
void thimble_model_free(thimble_model* model);
/* 0 for NULL. */
int32_t thimble_model_n_vocab(const thimble_model* model);
/* 0 for NULL. */
int64_t thimble_model_n_ctx_train(const thimble_model* model);

typedef struct thimble_plan_result {
  uint64_t weight_bytes, kv_bytes, activation_bytes, total_bytes, available_bytes;
  int64_t largest_context;
  double prefill_tokens_per_s, decode_tokens_per_s, decode_watts;
  int32_t fits; /* 0 or 1 */
} thimble_plan_result;

/* What `model` would need on the device of a profile file (or "host", which is measured for about a second), at n_ctx
 * positions (0: the profile's), with a batch of 256 tokens. */
thimble_status thimble_plan(const thimble_model* model, const char* device, int64_t n_ctx, int32_t kv,
                            thimble_plan_result* out);

/* Token ids of text, with BOS where the vocabulary asks for it. parse_special: recognise control tokens in the text.
 * On input *n is the capacity of ids, on output the number of tokens. */
thimble_status thimble_tokenize(const thimble_model* model, const char* text, int32_t parse_special, int32_t* ids,
                                size_t* n);

typedef struct thimble_chat_message {
  const char* role; /* "system", "user" or "assistant" */
  const char* content;
} thimble_chat_message;

/* Prompt tokens of a conversation by the model's chat template, ending where the assistant answers. */
thimble_status thimble_tokenize_chat(const thimble_model* model, const thimble_chat_message* messages,
                                     size_t n_messages, int32_t* ids, size_t* n);

typedef struct thimble_session_options {
  int64_t n_ctx;            /* 0: min(trained context, 4096) */
  int32_t kv;               /* a thimble_kv_type; checked, so not of the enum type */
  float temperature;        /* 0: greedy */
  int32_t top_k;            /* 0: off */
  float top_p;              /* 1: off */
  float min_p;              /* 0: off */
  float repetition_penalty; /* 1: off */
  uint64_t seed;
} thimble_session_options;

/* Greedy defaults. */
thimble_session_options thimble_session_defaults(void);

/* options may be NULL for the defaults. The session keeps the model alive. */
thimble_status thimble_session_new(const thimble_model* model, const thimble_session_options* options,
                                   thimble_session** out);
void thimble_session_free(thimble_session* session);

/* Makes the timeline exactly these tokens; a common prefix with the present timeline is not computed again. */
thimble_status thimble_session_set_prompt(thimble_session* session, const int32_t* ids, size_t n);
/* Appends tokens to the timeline. */
thimble_status thimble_session_feed(thimble_session* session, const int32_t* ids, size_t n);
/* Samples and appends the next token. THIMBLE_END when it ended the generation; *id is that token then. */
thimble_status thimble_session_next(thimble_session* session, int32_t* id);
/* Text that became complete with the tokens returned by next since the last call; whole UTF-8 sequences only. After
 * THIMBLE_END also what was left of an unfinished one (as U+FFFD). On input *size is the capacity of text including the
 * NUL, on output the length without it. With THIMBLE_TOO_SMALL the text is kept for the next call. */
thimble_status thimble_session_text(thimble_session* session, char* text, size_t* size);
/* Stops feed, set_prompt or next from another thread; they return THIMBLE_CANCELLED. */
void thimble_session_cancel(thimble_session* session);
/* Allows work again after a cancel. */
void thimble_session_clear_cancel(thimble_session* session);

#ifdef __cplusplus
}
#endif

#endif
