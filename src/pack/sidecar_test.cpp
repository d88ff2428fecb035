// A sidecar is used when it is whole and of this very model, layout and width, and for no other reason.
#include "pack/sidecar.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "pack/model_file_test.h"

namespace thimble {
namespace {

using pack_test::error_of;
using pack_test::plan_for;
using pack_test::small_tensors;
using pack_test::write_model;

class SidecarTest : public pack_test::ModelFileTest {
 protected:
  static constexpr int kLanes = 8;

  std::string sidecar() const { return path("sidecar"); }
  void write(int lanes = kLanes) {
    ThreadPool two(2);
    const GgufFile gguf = GgufFile::open(model());
    write_sidecar(sidecar(), gguf, identify_model(gguf), plan_for(gguf, lanes), two, task_);
  }
  SidecarCheck check(int lanes = kLanes) const {
    const GgufFile gguf = GgufFile::open(model());
    return check_sidecar(sidecar(), identify_model(gguf), plan_for(gguf, lanes));
  }
  SidecarCheck settle() {
    const GgufFile gguf = GgufFile::open(model());
    const ModelIdentity identity = identify_model(gguf);
    SidecarCheck found = check_sidecar(sidecar(), identity, plan_for(gguf, kLanes));
    EXPECT_EQ(found.state, SidecarState::touched);
    settle_touched(found, gguf, identity, task_);
    return found;
  }
  void expect_unusable(const SidecarCheck& found, std::string_view reason) const {
    EXPECT_EQ(found.state, SidecarState::unusable);
    EXPECT_NE(found.reason.find(reason), std::string::npos) << found.reason;
    EXPECT_NE(found.reason.find(sidecar()), std::string::npos) << found.reason;
    EXPECT_TRUE(found.file.bytes().empty());
  }
  static void set_time(const std::string& of, int64_t seconds) {
    const struct timespec times[2] = {{seconds, 0}, {seconds, 0}};
    ASSERT_EQ(::utimensat(AT_FDCWD, of.c_str(), times, 0), 0);
  }
};

TEST_F(SidecarTest, HoldsTheRowsOfTheModel) {
  for (const int lanes : {4, 8, 16}) {
    write(lanes);
    const SidecarCheck found = check(lanes);
    ASSERT_EQ(found.state, SidecarState::valid) << found.reason;
    const GgufFile gguf = GgufFile::open(model());
    const PackPlan plan = plan_for(gguf, lanes);
    ASSERT_EQ(plan.items.size(), lanes == 4 ? 3u : 2u);
    ASSERT_EQ(found.header.tensors.size(), plan.items.size());
    pack_test::expect_rows(plan, [&](const PackItem& item) -> const std::byte* {
      for (const SidecarTensor& t : found.header.tensors) {
        EXPECT_EQ(t.offset % kSidecarAlignment, 0u);
        if (t.name == item.name) return found.file.bytes().data() + t.offset;
      }
      return nullptr;
    });
    verify_panels(found, task_);
  }
}

TEST_F(SidecarTest, SameModelSameBytes) {
  write();
  const std::string first = content(sidecar());
  write();
  EXPECT_EQ(content(sidecar()), first);
}

TEST_F(SidecarTest, TruncatedAnywhereOrTooLong) {
  write();
  const std::string whole = content(sidecar());
  for (size_t length = 0; length < whole.size(); length += length < 700 ? 1 : 1013) {
    write_file_atomically(sidecar(), whole.substr(0, length));
    expect_unusable(check(), "");
  }
  write_file_atomically(sidecar(), whole + "x");
  expect_unusable(check(), "expected " + std::to_string(whole.size()));
}

TEST_F(SidecarTest, AnyHeaderByteChanged) {
  write();
  const std::string whole = content(sidecar());
  const size_t n = check().header.header_bytes;
  for (size_t i = 0; i < n; ++i) {
    std::string bad = whole;
    bad[i] = static_cast<char>(bad[i] ^ 0x10);
    write_file_atomically(sidecar(), bad);
    expect_unusable(check(), "");
  }
}

TEST_F(SidecarTest, NewerVersionIsNamed) {
  write();
  overwrite(sidecar(), 8, std::string_view("\x02\0\0\0", 4));
  expect_unusable(check(), "version 2 of packed weights, expected 1");
  EXPECT_EQ(check().code, ErrorCode::unsupported);
}

TEST_F(SidecarTest, OtherLayoutVersionWithARightHash) {
  write();
  SidecarHeader header = check().header;
  header.layout_version += 1;
  const auto bytes = sidecar_header(header);
  overwrite(sidecar(), 0, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  expect_unusable(check(), "layout version 3, expected 2");
}

TEST_F(SidecarTest, OtherWidth) {
  write(4);
  expect_unusable(check(8), "tensor 'a.weight': found panels of 4 rows, expected 8");
}

TEST_F(SidecarTest, TensorMissingOrOfAnotherType) {
  write();
  SidecarHeader header = check().header;
  header.tensors[0].type = TensorType::q4_0;  // as many bytes for each weight as q4_k
  const auto bytes = sidecar_header(header);
  overwrite(sidecar(), 0, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  expect_unusable(check(), "tensor 'a.weight': found 512 x 37 q4_0, expected 512 x 37 q4_k");
  const GgufFile gguf = GgufFile::open(model());
  PackPlan plan = plan_for(gguf, kLanes);
  plan.items.pop_back();
  write_sidecar(sidecar(), gguf, identify_model(gguf), plan, pool_, task_);
  expect_unusable(check(), "tensor 'b.weight' is missing");
}

TEST_F(SidecarTest, OtherModelOfTheSameShapeSizeAndTime) {
  write();
  const int64_t then = 1'000'000'000;
  set_time(model(), then);
  EXPECT_EQ(settle().state, SidecarState::valid);
  write_model(model(), 77, small_tensors());
  set_time(model(), then);
  expect_unusable(check(), "made from another model");
}

TEST_F(SidecarTest, OtherMetadata) {
  write();
  GgufMetadata metadata;
  metadata.set_float32("rope.freq_base", 1.5f);
  write_model(model(), 1, small_tensors(), metadata);
  expect_unusable(check(), "made from another model");
}

TEST_F(SidecarTest, OtherTimeSameContentIsComparedOnce) {
  write();
  set_time(model(), 1'234'567'890);
  const SidecarCheck found = settle();
  EXPECT_EQ(found.state, SidecarState::valid) << found.reason;
  EXPECT_TRUE(said(LogLevel::info, "comparing contents"));
  const SidecarCheck again = check();
  EXPECT_EQ(again.state, SidecarState::valid) << again.reason;
  verify_panels(again, task_);
}

TEST_F(SidecarTest, OtherTimeOtherContentWhereNoSampleLooks) {
  write();
  const GgufFile gguf = GgufFile::open(model());
  const std::string fingerprint = identify_model(gguf).fingerprint;
  // Samples are taken from the middle of tensors.
  const std::string whole = content(model());
  const auto data = gguf.tensor("a.weight").view.data;
  const std::string_view needle(reinterpret_cast<const char*>(data.data()), 64);
  overwrite(model(), whole.find(needle), "X");
  set_time(model(), 1'234'567'890);
  EXPECT_EQ(identify_model(GgufFile::open(model())).fingerprint, fingerprint);
  expect_unusable(settle(), "made from another model");
}

TEST_F(SidecarTest, DamagedPanelsAreFoundByVerify) {
  write();
  const SidecarCheck before = check();
  overwrite(sidecar(), before.header.tensors[1].offset + 5, "\x55\xAA\x55");
  const SidecarCheck found = check();
  EXPECT_EQ(found.state, SidecarState::valid);
  const std::string message = error_of(ErrorCode::corrupt, [&] { verify_panels(found, task_); });
  EXPECT_NE(message.find("b.weight"), std::string::npos) << message;
}

TEST_F(SidecarTest, WhatIsNoSidecar) {
  EXPECT_EQ(check().state, SidecarState::missing);
  write_file_atomically(sidecar(), "");
  expect_unusable(check(), "0 bytes");
  write_file_atomically(sidecar(), content(model()));
  expect_unusable(check(), "expected packed weights");
  fs::remove(sidecar());
  fs::create_directory(sidecar());
  expect_unusable(check(), "folder");
  EXPECT_EQ(check().code, ErrorCode::io);
}

TEST_F(SidecarTest, Unreadable) {
  write();
  fs::permissions(sidecar(), fs::perms::none);
  EXPECT_TRUE(pack_test::unprivileged([&] {
    const SidecarCheck found = check();
    return found.state == SidecarState::unusable && found.reason.find("cannot open") != std::string::npos;
  }));
}

TEST_F(SidecarTest, OtherTimeWithoutTheRightToRecordIt) {
  write();
  set_time(model(), 1'234'567'890);
  fs::permissions(sidecar(), fs::perms::owner_read | fs::perms::group_read | fs::perms::others_read);
  EXPECT_TRUE(pack_test::unprivileged(
      [&] { return settle().state == SidecarState::valid && said(LogLevel::warning, "compared again"); }));
  EXPECT_EQ(check().state, SidecarState::touched);
}

TEST_F(SidecarTest, SplitSet) {
  const auto tensors = small_tensors();
  for (uint32_t part = 0; part < 2; ++part) {
    GgufMetadata metadata;
    metadata.set_uint32("split.no", part);
    metadata.set_uint32("split.count", 2);
    metadata.set_uint32("split.tensors.count", 5);
    const auto first = tensors.begin() + (part == 0 ? 0 : 2);
    write_model(path(fmt::format("set-{:05}-of-00002.gguf", part + 1)), 10 * part,
                {first, part == 0 ? first + 2 : tensors.end()}, metadata);
  }
  const GgufFile gguf = GgufFile::open(path("set-00001-of-00002.gguf"));
  const PackPlan plan = plan_for(gguf, 4);
  write_sidecar(sidecar(), gguf, identify_model(gguf), plan, pool_, task_);
  ASSERT_EQ(check_sidecar(sidecar(), identify_model(gguf), plan).state, SidecarState::valid);
  // A second part that differs is another model.
  write_model(path("set-00002-of-00002.gguf"), 99, {tensors.begin() + 2, tensors.end()}, [] {
    GgufMetadata metadata;
    metadata.set_uint32("split.no", 1);
    metadata.set_uint32("split.count", 2);
    metadata.set_uint32("split.tensors.count", 5);
    return metadata;
  }());
  const GgufFile other = GgufFile::open(path("set-00001-of-00002.gguf"));
  expect_unusable(check_sidecar(sidecar(), identify_model(other), plan_for(other, 4)), "made from another model");
}

TEST_F(SidecarTest, AModelThatChangesMeanwhileIsNotRecorded) {
  Task task = task_;
  task.progress = [&](uint64_t, uint64_t, std::string_view) { set_time(model(), 99); };
  const GgufFile gguf = GgufFile::open(model());
  const auto attempt = [&] { write_sidecar(sidecar(), gguf, identify_model(gguf), plan_for(gguf, 8), pool_, task); };
  error_of(ErrorCode::io, attempt);
  EXPECT_EQ(files(folder_.string()), (std::vector<std::string>{"cache", "model.gguf"}));
}

TEST_F(SidecarTest, CancelledLeavesNothing) {
  CancelToken cancel;
  Task task = task_;
  task.cancel = &cancel;
  task.progress = [&](uint64_t done, uint64_t, std::string_view) {
    if (done > 0) cancel.cancel();
  };
  const GgufFile gguf = GgufFile::open(model());
  error_of(ErrorCode::cancelled,
           [&] { write_sidecar(sidecar(), gguf, identify_model(gguf), plan_for(gguf, 8), pool_, task); });
  EXPECT_EQ(files(folder_.string()), (std::vector<std::string>{"cache", "model.gguf"}));
}

TEST_F(SidecarTest, NamesTellModelsAndWidthsApart) {
  const ModelIdentity a = identify_model(GgufFile::open(model()));
  write_model(model(), 2, small_tensors());
  const ModelIdentity b = identify_model(GgufFile::open(model()));
  EXPECT_NE(sidecar_in("f", model(), a, 8), sidecar_in("f", model(), b, 8));
  EXPECT_NE(sidecar_in("f", model(), a, 8), sidecar_in("f", model(), a, 16));
  EXPECT_EQ(sidecar_beside("x/m.gguf", 16), "x/m.gguf.rows16.packed");
}

}  // namespace
}  // namespace thimble
