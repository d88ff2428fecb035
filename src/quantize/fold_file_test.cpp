// Folded files: the same function, types and metadata kept, refusals before anything is written.
#include "quantize/fold_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "quantize/fold_model_test.h"

namespace thimble {
namespace {

namespace fs = std::filesystem;

class FoldFile : public testing::Test {
 protected:
  FoldFile() : folder_(fs::temp_directory_path() / fmt::format("thimble-fold-{}", ::getpid())) {
    fs::create_directories(folder_);
  }
  ~FoldFile() override { fs::remove_all(folder_); }
  std::string path(const char* name) const { return (folder_ / name).string(); }

  static FoldPlan all_sites(const GgufFile& gguf, float up) {
    FoldPlan plan;
    for (const FoldSite& site : fold_sites(read_model_config(gguf), gguf).sites) {
      std::vector<float> s(static_cast<size_t>(site.n));
      for (size_t i = 0; i < s.size(); ++i) s[i] = i % 3 == 0 ? up : 0.75f;
      tie_factors(site, TieBy::max, s);
      compose(&plan, plan_of_site(site, s));
    }
    return plan;
  }

  fs::path folder_;
};

TEST_F(FoldFile, HoldsTheSameFunction) {
  for (const char* architecture : {"llama", "qwen2"}) {
    const SyntheticModel model = make_fold_model(one_layer(architecture), true);
    write_folded(model.gguf, all_sites(model.gguf, 3.0f), path("folded.gguf"));
    const GgufFile folded = GgufFile::open(path("folded.gguf"));
    EXPECT_EQ(folded.tensors().size(), model.gguf.tensors().size());
    EXPECT_EQ(folded.get_string("general.architecture"), architecture);
    EXPECT_LT(change_of_logits(reference_logits(model.gguf), folded), 1e-5);
    const auto first = [](const GgufFile& file) {
      return *reinterpret_cast<const float*>(file.tensor("blk.0.attn_norm.weight").view.data.data());
    };
    EXPECT_NEAR(first(folded), first(model.gguf) / 3.0f, 1e-6f);
  }
}

TEST_F(FoldFile, RefusesWhatItCannotWrite) {
  ThreadPool pool(1);
  const ModelConfig config = one_layer();
  const SyntheticModel blocks =
      make_synthetic_model(config, synthetic_tensors(config, TensorType::q8_0, true), {}, pool);
  EXPECT_THROW(write_folded(blocks.gguf, all_sites(blocks.gguf, 2.0f), path("out.gguf")), Error);

  const SyntheticModel halves =
      make_synthetic_model(config, synthetic_tensors(config, TensorType::f16, true), {}, pool);
  EXPECT_THROW(write_folded(halves.gguf, all_sites(halves.gguf, 1e7f), path("out.gguf")), Error);
  EXPECT_THROW(write_folded(halves.gguf, {{"no.such.tensor", {}}}, path("out.gguf")), Error);
  EXPECT_TRUE(fs::is_empty(folder_));

  std::ofstream(path("in.gguf"), std::ios::binary)
      .write(reinterpret_cast<const char*>(halves.image.data()), static_cast<std::streamsize>(halves.image.size()));
  EXPECT_THROW(write_folded(GgufFile::open(path("in.gguf")), {}, path("in.gguf")), Error);
  EXPECT_NO_THROW(write_folded(GgufFile::open(path("in.gguf")), {}, path("out.gguf")));
}

}  // namespace
}  // namespace thimble
