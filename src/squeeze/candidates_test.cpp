#include "squeeze/candidates.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/error.h"

namespace thimble {
namespace {

std::vector<std::string> names(const std::vector<Recipe>& recipes) {
  std::vector<std::string> out;
  for (const Recipe& r : recipes) out.push_back(r.name);
  return out;
}

class Candidates : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("thimble-candidates-" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
    return (folder_ / name).string();
  }
  void expect_error(const std::string& text, const std::string& part) const {
    try {
      (void)read_candidates(write("bad.toml", text));
      ADD_FAILURE() << "no error for: " << text;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::corrupt) << e.what();
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
      EXPECT_NE(std::string(e.what()).find("bad.toml"), std::string::npos) << e.what();
    }
  }
  std::filesystem::path folder_;
};

TEST_F(Candidates, TheBuiltInListIsTheFileInTheRepository) {
  const std::vector<Recipe> built_in = default_candidates();
  EXPECT_EQ(names(built_in), names(read_candidates(THIMBLE_SOURCE_DIR "/candidates/default.toml")));
  EXPECT_TRUE(std::any_of(built_in.begin(), built_in.end(), [](const Recipe& r) { return r.name == "q2_k"; }));
}

TEST_F(Candidates, SchemesTimesHotWeightsAndRecipeFiles) {
  write("mine.toml", "scheme = \"q4_k_m\"\nname = \"mine\"\n[[rule]]\nmatch = \"blk.0.*\"\ntype = \"q8_0\"\n");
  const std::string path = write("list.toml",
                                 "schemes = [\"q4_0\", \"q8_0\"]\nhot_weights = [false, true]\n"
                                 "[[group]]\nrecipes = [\"mine.toml\"]\n");
  const std::vector<Recipe> list = read_candidates(path);
  EXPECT_EQ(names(list), (std::vector<std::string>{"q4_0", "q4_0+hot", "q8_0", "q8_0+hot", "mine"}));
  EXPECT_EQ(list[1].rules.size(), 2u);
  EXPECT_EQ(list[4].rules.size(), 1u);
}

TEST_F(Candidates, MistakesNameTheFile) {
  expect_error("", "found no candidate");
  expect_error("schemes = [\"q9_z\"]", "q9_z");
  expect_error("scheme = [\"q4_0\"]", "'scheme'");
  expect_error("schemes = [\"q4_0\", \"q4_0\"]", "second time");
  expect_error("schemes = \"q4_0\"", "an array of strings");
  expect_error("schemes = [\"q4_0\"]\nhot_weights = [\"yes\"]", "true or false");
  expect_error("schemes = [", "not valid TOML");
}

TEST_F(Candidates, FileNamesAreSafe) {
  EXPECT_EQ(file_stem("q4_k_m+hot"), "q4_k_m+hot");
  EXPECT_EQ(file_stem("../../etc/passwd"), "_.._.._etc_passwd");
  EXPECT_EQ(file_stem(""), "_");
  EXPECT_EQ(file_stem("float"), "_float");
  EXPECT_EQ(file_stem("a b\n"), "a_b_");
}

}  // namespace
}  // namespace thimble
