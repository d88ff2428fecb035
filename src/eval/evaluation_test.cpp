// Whole evaluations on small random models in files: divided, joined, stopped, scored again.
#include "eval/evaluation.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/file.h"
#include "eval/test_engine.h"

namespace thimble {
namespace {

namespace fs = std::filesystem;

class EvaluationTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("thimble-eval-" + std::to_string(::getpid()) + "-" +
                                           testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_ / "tasks");
    write_task("alpha", 5);
    write_task("beta", 4);
    std::string text;
    for (int i = 0; i < 220; ++i) text += static_cast<char>('a' + i % 26);
    write("text.txt", text);
    for (uint64_t seed = 1; seed <= 3; ++seed) write_model(seed);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  void write(const std::string& name, std::string_view text) const {
    std::ofstream(at(name), std::ios::binary | std::ios::trunc) << text;
  }
  std::string read(const std::string& name) const { return read_file(at(name), 1 << 24); }
  std::string model(uint64_t seed) const { return at("m" + std::to_string(seed) + ".gguf"); }

  void write_task(const std::string& name, int n, const std::string& ref = "x") const {
    write("tasks/" + name + ".task.json", R"({"task": ")" + name + R"(", "data": ")" + name +
                                              R"(.jsonl", "gen": {"max_tokens": 6}, "metrics": {"primary": "chrf2"}})");
    std::string lines;
    for (int i = 0; i < n; ++i) {
      lines += R"({"id": ")" + name + std::to_string(i) + R"(", "messages": [{"role": "user", "content": "Say )" +
               std::string(static_cast<size_t>(i) % 3 + 1, 'y') + std::to_string(i) + R"("}], "refs": [")" + ref +
               "\"]}\n";
    }
    write("tasks/" + name + ".jsonl", lines);
  }

  void write_model(uint64_t seed) const {
    ThreadPool pool(1);
    const ModelConfig config = testing_engine::small_config();
    SyntheticOptions synthetic;
    synthetic.seed = seed;
    synthetic.vocabulary = true;
    const SyntheticModel m =
        make_synthetic_model(config, synthetic_tensors(config, TensorType::f16, false), synthetic, pool);
    write("m" + std::to_string(seed) + ".gguf",
          {reinterpret_cast<const char*>(m.image.data()), static_cast<size_t>(m.image.size())});
  }

  EvaluationOptions options(const std::string& output) const {
    EvaluationOptions o;
    o.models = {model(1), model(2), model(3)};
    o.tasks = at("tasks");
    o.text = at("text.txt");
    o.against = model(1);
    o.n_ctx = 96;
    o.engine.n_threads = 1;
    o.engine.chat_template = ChatTemplate::chatml;
    o.engine.packing.policy = PackPolicy::none;
    if (!output.empty()) o.output = at(output);
    return o;
  }

  static std::string message_of(const std::function<void()>& body, ErrorCode code) {
    try {
      body();
      ADD_FAILURE() << "no error";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), code) << e.what();
      return e.what();
    }
    return {};
  }
  void run_shards(const std::string& output, size_t count, ShardBy by) const {
    for (size_t i = 0; i < count; ++i) {
      EvaluationOptions o = options(output);
      o.shard = Shard{i, count, by};
      EXPECT_TRUE(evaluate(o).models.empty());
    }
  }
  fs::path folder_;
};

TEST_F(EvaluationTest, ShardsJoinToTheBytesOfTheWholeHoweverItIsDivided) {
  const Evaluation whole = evaluate(options("whole"));
  ASSERT_EQ(whole.models.size(), 3u);
  EXPECT_EQ(whole.models[0].fidelity[0].divergence.max_kl, 0.0) << "the reference is the first model";
  EXPECT_GT(whole.models[1].fidelity[0].divergence.mean_kl, 0.0);
  EXPECT_GT(whole.models[1].text->divergence->mean_kl, 0.0);
  const std::string want = read("whole/results.json");
  for (const ShardBy by : {ShardBy::item, ShardBy::candidate}) {
    for (const size_t count : {1u, 2u, 4u}) {
      const std::string name = std::string(shard_by_name(by)) + std::to_string(count);
      run_shards(name, count, by);
      EXPECT_FALSE(fs::exists(at(name + "/results.json")));
      (void)merge_shards(at(name));
      EXPECT_EQ(read(name + "/results.json"), want) << name;
      (void)merge_shards(at(name));  // joining again changes nothing
      EXPECT_EQ(read(name + "/results.json"), want) << name;
    }
  }
}

TEST_F(EvaluationTest, WithoutAFolderTheScoresAreTheSame) {
  EvaluationOptions o = options("");
  o.reference_folder = at("reference");
  const Evaluation kept = evaluate(options("kept"));
  const Evaluation loose = evaluate(o);
  EXPECT_EQ(evaluation_json(loose), evaluation_json(kept));
}

TEST_F(EvaluationTest, AStoppedRunGoesOnAndDoesNothingTwice) {
  (void)evaluate(options("whole"));
  size_t stops = 0;
  for (uint64_t limit = 50'000;; limit += 90'000) {  // of a million steps of progress
    CancelToken cancel;
    Task task;
    task.cancel = &cancel;
    task.progress = [&](uint64_t done, uint64_t, std::string_view) {
      if (done >= limit) cancel.cancel();
    };
    try {
      (void)evaluate(options("stopped"), task);
      break;
    } catch (const Error& e) {
      ASSERT_EQ(e.code(), ErrorCode::cancelled) << e.what();
      ++stops;
    }
  }
  EXPECT_GE(stops, 5u);
  EXPECT_EQ(read("stopped/results.json"), read("whole/results.json"));
  const std::string lines = read("stopped/journal.jsonl");
  EXPECT_EQ(static_cast<size_t>(std::count(lines.begin(), lines.end(), '\n')),
            Journal(at("stopped/journal.jsonl")).size());
}

TEST_F(EvaluationTest, ScoringAgainNeedsNoModelAndSeesChangedReferences) {
  const Evaluation first = evaluate(options("out"));
  const std::string want = read("out/results.json");
  for (uint64_t seed = 1; seed <= 3; ++seed) fs::remove(model(seed));
  fs::remove_all(at("out/reference"));
  fs::remove(at("out/results.json"));
  (void)rescore(at("out"));
  EXPECT_EQ(read("out/results.json"), want);

  write_task("alpha", 5, first.models[1].tasks[0].items[0].answer.substr(0, 1) == "x" ? "yy" : "xx");
  const Evaluation again = rescore(at("out"));
  EXPECT_EQ(again.models[1].tasks[0].items[0].answer, first.models[1].tasks[0].items[0].answer);
  EXPECT_NE(read("out/results.json"), want);

  write_task("alpha", 6);
  const std::string message = message_of([&] { (void)rescore(at("out")); }, ErrorCode::not_found);
  EXPECT_NE(message.find("m1.gguf"), std::string::npos) << message;
  EXPECT_NE(message.find("alpha5"), std::string::npos) << message;
}

TEST_F(EvaluationTest, MissingDoubleUnfinishedAndForeignShardsAreNamed) {
  const auto merge = [&] { (void)merge_shards(at("out")); };
  EvaluationOptions o = options("out");
  for (const size_t i : {0u, 2u}) {
    o.shard = Shard{i, 4, ShardBy::item};
    (void)evaluate(o);
  }
  std::string message = message_of(merge, ErrorCode::not_found);
  EXPECT_NE(message.find("1/4, 3/4"), std::string::npos) << message;

  for (const size_t i : {1u, 3u}) {
    o.shard = Shard{i, 4, ShardBy::item};
    (void)evaluate(o);
  }
  fs::copy(at("out/shard-1-of-4"), at("out/copy"), fs::copy_options::recursive);
  message = message_of(merge, ErrorCode::invalid_argument);
  EXPECT_NE(message.find("1/4 twice"), std::string::npos) << message;
  fs::remove_all(at("out/copy"));

  const std::string journal = read("out/shard-3-of-4/journal.jsonl");
  write("out/shard-3-of-4/journal.jsonl", journal.substr(0, journal.size() / 2));
  message = message_of(merge, ErrorCode::not_found);
  EXPECT_NE(message.find("3/4"), std::string::npos) << message;
  EXPECT_NE(message.find("run them again"), std::string::npos) << message;
  write("out/shard-3-of-4/journal.jsonl", journal);

  // Another model under the same name: refused when the job starts, and in merging should it have run elsewhere.
  write_model(2);
  const std::string second = read("m2.gguf");
  fs::copy_file(model(3), model(2), fs::copy_options::overwrite_existing);
  o.shard = Shard{3, 4, ShardBy::item};
  message = message_of([&] { (void)evaluate(o); }, ErrorCode::invalid_argument);
  EXPECT_NE(message.find("m2.gguf"), std::string::npos) << message;
  o.output = at("elsewhere");
  (void)evaluate(o);
  fs::remove_all(at("out/shard-3-of-4"));
  fs::copy(at("elsewhere/shard-3-of-4"), at("out/shard-3-of-4"), fs::copy_options::recursive);
  message = message_of(merge, ErrorCode::invalid_argument);
  EXPECT_NE(message.find("content of m2.gguf"), std::string::npos) << message;

  (void)message_of([&] { (void)merge_shards(at("tasks")); }, ErrorCode::not_found);
  (void)message_of([&] { (void)merge_shards(at("nowhere")); }, ErrorCode::not_found);
}

TEST_F(EvaluationTest, NonsenseIsRefusedBeforeAnythingRuns) {
  EvaluationOptions o = options("out");
  o.models.clear();
  (void)message_of([&] { (void)evaluate(o); }, ErrorCode::invalid_argument);
  o = options("out");
  o.tasks.clear();
  o.text.clear();
  (void)message_of([&] { (void)evaluate(o); }, ErrorCode::invalid_argument);
  o = options("");
  o.shard = Shard{0, 2, ShardBy::item};
  (void)message_of([&] { (void)evaluate(o); }, ErrorCode::invalid_argument);
  o = options("out");
  o.models.push_back(model(1));
  EXPECT_NE(message_of([&] { (void)evaluate(o); }, ErrorCode::invalid_argument).find("m1.gguf"), std::string::npos);
  o = options("text.txt");
  (void)message_of([&] { (void)evaluate(o); }, ErrorCode::invalid_argument);
  write("short.txt", "too short");
  for (const std::string& against : {std::string(), model(2)}) {
    o = options("out");
    o.text = at("short.txt");
    o.against = against;
    EXPECT_TRUE(message_of([&] { (void)evaluate(o); }, ErrorCode::invalid_argument).starts_with(o.text + ": "));
  }
  EXPECT_FALSE(fs::exists(at("out")));
  o = options("out");
  o.shard = Shard{0, 2, ShardBy::item};
  (void)evaluate(o);
  (void)message_of([&] { (void)rescore(at("out/shard-0-of-2")); }, ErrorCode::invalid_argument);
}

TEST_F(EvaluationTest, ManifestsSurviveAFile) {
  EvaluationManifest m;
  m.version = "1";
  m.models = {{"a", "h", "chatml", "t", 512}};
  m.reference = EvaluatedModel{"r", "h2", "chatml", "t", 512};
  m.kv = ops::KvType::int8;
  m.n_ctx = 7;
  m.tasks = {{"t", "d", 3}};
  m.tasks_folder = "/x";
  m.text_hash = "y";
  m.shard = Shard{1, 3, ShardBy::candidate};
  write_manifest(folder_.string(), m);
  EXPECT_EQ(manifest_json(read_manifest(folder_.string())), manifest_json(m));
  write("manifest.json", R"({"format": "something/9"})");
  (void)message_of([&] { (void)read_manifest(folder_.string()); }, ErrorCode::unsupported);
  write("manifest.json", R"({"format": "thimble-eval/1", "version": 3})");
  (void)message_of([&] { (void)read_manifest(folder_.string()); }, ErrorCode::corrupt);
}

TEST(Shard, NamesAreParsedAndItemsDealtOnce) {
  const Shard s = parse_shard("2/8", ShardBy::item);
  EXPECT_EQ(s.index, 2u);
  EXPECT_EQ(s.count, 8u);
  EXPECT_EQ(shard_name(s), "2/8");
  EXPECT_EQ(shard_folder(s), "shard-2-of-8");
  for (const char* bad : {"", "/", "1", "1/", "/2", "a/2", "1/b", "2/2", "-1/2", "0/0", "1/2/3", "0/100001", " 0/2"}) {
    EXPECT_THROW((void)parse_shard(bad, ShardBy::item), Error) << bad;
  }
  for (const size_t count : {1u, 3u, 7u}) {
    for (size_t item = 0; item < 20; ++item) {
      size_t owners = 0;
      for (size_t i = 0; i < count; ++i) owners += Shard{i, count, ShardBy::item}.has_item(item) ? 1 : 0;
      EXPECT_EQ(owners, 1u);
    }
  }
}

}  // namespace
}  // namespace thimble
