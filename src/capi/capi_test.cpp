// The C API: driven from C (capi_c_test.c), and what only C++ can arrange (threads, NULL everywhere, damaged files).
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <thread>

#include "base/file.h"
#include "model/synthetic_model.h"
#include "model/synthetic_shapes_test.h"
#include "thimble/thimble.h"

extern "C" int run_c_api_test(const char* model_path);

namespace thimble {
namespace {

class CApi : public testing::Test {
 protected:
  void SetUp() override {
    ThreadPool pool(1);
    SyntheticOptions options;
    options.vocabulary = true;
    const ModelConfig config = tiny_config();
    const SyntheticModel model =
        make_synthetic_model(config, synthetic_tensors(config, TensorType::f16, false), options, pool);
    image_.assign(reinterpret_cast<const char*>(model.image.data()), model.image.size());
    write_file_atomically(path_, image_);
  }
  void TearDown() override { std::remove(path_.c_str()); }

  std::string path_ = testing::TempDir() + "thimble_capi_" + std::to_string(::getpid()) + ".gguf";
  std::string image_;
};

TEST_F(CApi, WorksFromC) {
  EXPECT_EQ(run_c_api_test(path_.c_str()), 0) << thimble_last_error();
}

TEST_F(CApi, NullIsAnInvalidArgumentNeverACrash) {
  thimble_model* model = nullptr;
  thimble_session* session = nullptr;
  ASSERT_EQ(thimble_model_open(path_.c_str(), nullptr, &model), THIMBLE_OK);
  ASSERT_EQ(thimble_session_new(model, nullptr, &session), THIMBLE_OK);
  size_t n = 0;
  int32_t id = 0;
  thimble_plan_result plan;
  const thimble_chat_message no_role = {nullptr, "x"};
  const thimble_chat_message no_content = {"user", nullptr};
  const thimble_status results[] = {
      thimble_model_open(nullptr, nullptr, nullptr),
      thimble_model_open(path_.c_str(), nullptr, nullptr),
      thimble_plan(nullptr, "host", 0, THIMBLE_KV_F16, &plan),
      thimble_plan(model, nullptr, 0, THIMBLE_KV_F16, &plan),
      thimble_plan(model, "host", 0, THIMBLE_KV_F16, nullptr),
      thimble_tokenize(nullptr, "x", 0, &id, &n),
      thimble_tokenize(model, nullptr, 0, &id, &n),
      thimble_tokenize(model, "x", 0, &id, nullptr),
      thimble_tokenize_chat(nullptr, &no_role, 1, &id, &n),
      thimble_tokenize_chat(model, nullptr, 1, &id, &n),
      thimble_tokenize_chat(model, &no_role, 1, &id, &n),
      thimble_tokenize_chat(model, &no_content, 1, &id, &n),
      thimble_tokenize_chat(model, &no_content, 1, &id, nullptr),
      thimble_session_new(nullptr, nullptr, nullptr),
      thimble_session_new(model, nullptr, nullptr),
      thimble_session_set_prompt(nullptr, &id, 1),
      thimble_session_set_prompt(session, nullptr, 1),
      thimble_session_set_prompt(session, nullptr, 0),
      thimble_session_feed(nullptr, &id, 1),
      thimble_session_feed(session, nullptr, 1),
      thimble_session_next(nullptr, &id),
      thimble_session_next(session, nullptr),
      thimble_session_text(nullptr, nullptr, &n),
      thimble_session_text(session, nullptr, nullptr),
  };
  int index = 0;
  for (const thimble_status status : results) EXPECT_EQ(status, THIMBLE_INVALID_ARGUMENT) << "call " << index++;
  n = 5;
  EXPECT_EQ(thimble_session_text(session, nullptr, &n), THIMBLE_INVALID_ARGUMENT);
  n = 99;
  EXPECT_EQ(thimble_tokenize(model, "x", 0, nullptr, &n), THIMBLE_INVALID_ARGUMENT);
  EXPECT_EQ(thimble_model_n_vocab(nullptr), 0);
  EXPECT_EQ(thimble_model_n_ctx_train(nullptr), 0);
  thimble_session_cancel(nullptr);
  thimble_session_clear_cancel(nullptr);
  thimble_session_free(nullptr);
  thimble_model_free(nullptr);
  thimble_session_free(session);
  thimble_model_free(model);
}

TEST_F(CApi, SettingsOutOfRangeAreErrors) {
  thimble_model* model = nullptr;
  thimble_session* session = nullptr;
  ASSERT_EQ(thimble_model_open(path_.c_str(), nullptr, &model), THIMBLE_OK);
  thimble_session_options options = thimble_session_defaults();
  options.n_ctx = -1;
  EXPECT_EQ(thimble_session_new(model, &options, &session), THIMBLE_INVALID_ARGUMENT);
  options = thimble_session_defaults();
  options.kv = 7;
  EXPECT_EQ(thimble_session_new(model, &options, &session), THIMBLE_INVALID_ARGUMENT);
  options = thimble_session_defaults();
  options.temperature = -1.0f;
  EXPECT_EQ(thimble_session_new(model, &options, &session), THIMBLE_INVALID_ARGUMENT);
  EXPECT_NE(std::string(thimble_last_error()).find("temperature"), std::string::npos);
  thimble_model_free(model);
}

TEST_F(CApi, DamagedFilesAreErrors) {
  for (const size_t size : {size_t{0}, size_t{4}, size_t{100}, image_.size() / 2, image_.size() - 1}) {
    write_file_atomically(path_, image_.substr(0, size));
    thimble_model* model = nullptr;
    EXPECT_EQ(thimble_model_open(path_.c_str(), nullptr, &model), THIMBLE_CORRUPT) << size;
    EXPECT_EQ(model, nullptr);
    EXPECT_NE(std::string(thimble_last_error()).find(path_), std::string::npos) << thimble_last_error();
  }
  thimble_model* model = nullptr;
  EXPECT_EQ(thimble_model_open(testing::TempDir().c_str(), nullptr, &model), THIMBLE_IO);
}

TEST_F(CApi, ErrorsBelongToTheirThread) {
  thimble_model* model = nullptr;
  EXPECT_EQ(thimble_model_open("/no/such/file", nullptr, &model), THIMBLE_NOT_FOUND);
  std::thread([] { EXPECT_STREQ(thimble_last_error(), ""); }).join();
  EXPECT_NE(std::string(thimble_last_error()), "");
}

TEST_F(CApi, OneModelServesManyThreads) {
  thimble_model* model = nullptr;
  ASSERT_EQ(thimble_model_open(path_.c_str(), nullptr, &model), THIMBLE_OK);
  const auto run = [model](int32_t start) {
    thimble_session* session = nullptr;
    std::string text;
    EXPECT_EQ(thimble_session_new(model, nullptr, &session), THIMBLE_OK);
    const int32_t prompt[] = {1, start};
    EXPECT_EQ(thimble_session_set_prompt(session, prompt, 2), THIMBLE_OK);
    for (int i = 0; i < 10; ++i) {
      int32_t id = 0;
      if (thimble_session_next(session, &id) != THIMBLE_OK) break;
      char piece[256];
      size_t size = sizeof piece;
      EXPECT_EQ(thimble_session_text(session, piece, &size), THIMBLE_OK);
      text += piece;
    }
    thimble_session_free(session);
    return text;
  };
  std::vector<std::string> want, got(4);
  for (int32_t i = 0; i < 4; ++i) want.push_back(run(100 + i));
  std::vector<std::thread> threads;
  for (int32_t i = 0; i < 4; ++i) threads.emplace_back([&, i] { got[static_cast<size_t>(i)] = run(100 + i); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(got, want);
  thimble_model_free(model);
}

TEST_F(CApi, PlansForTheHost) {
  thimble_model* model = nullptr;
  ASSERT_EQ(thimble_model_open(path_.c_str(), nullptr, &model), THIMBLE_OK);
  thimble_plan_result plan = {};
  ASSERT_EQ(thimble_plan(model, "host", 64, THIMBLE_KV_F16, &plan), THIMBLE_OK) << thimble_last_error();
  EXPECT_EQ(plan.kv_bytes, 64u * 2 * 2 * 2 * 16 * 2);  // tokens, planes, layers, heads, size, half
  EXPECT_GT(plan.weight_bytes, 0u);
  EXPECT_EQ(plan.total_bytes, plan.weight_bytes + plan.kv_bytes + plan.activation_bytes);
  EXPECT_EQ(plan.fits, 1);
  EXPECT_EQ(thimble_plan(model, "/no/such/device.toml", 64, THIMBLE_KV_F16, &plan), THIMBLE_NOT_FOUND);
  thimble_model_free(model);
}

}  // namespace
}  // namespace thimble
