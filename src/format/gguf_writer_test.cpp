// What is written reads back equal; nothing half-written survives a full disk, a kill or an invalid plan.
#include "format/gguf_writer.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "base/file.h"
#include "format/gguf_test_image.h"

namespace thimble {

namespace {

using test::expect_error;
using test::full_image;
using test::ParsedImage;
using test::TempFolder;

GgufTensorPlan plan(const char* name, TensorType type, uint32_t n_dims, std::array<int64_t, 4> ne) {
  return {name, type, n_dims, ne};
}

std::vector<GgufTensorPlan> plans_of(const GgufFile& file) {
  std::vector<GgufTensorPlan> plans;
  for (const GgufTensor& t : file.tensors()) plans.push_back({std::string(t.name), t.view.type, t.n_dims, t.view.ne});
  return plans;
}

GgufMetadata metadata_of(const GgufFile& file) {
  GgufMetadata metadata;
  for (const GgufKeyValue& kv : file.metadata()) metadata.set(kv);
  return metadata;
}

void expect_equal(const GgufScalar& a, const GgufScalar& b, std::string_view key) {
  ASSERT_EQ(a.index(), b.index()) << key;
  if (const auto* array = std::get_if<GgufArray>(&a)) {
    const auto& other = std::get<GgufArray>(b);
    EXPECT_EQ(array->element_type, other.element_type) << key;
    EXPECT_EQ(array->count, other.count) << key;
    EXPECT_TRUE(std::equal(array->bytes.begin(), array->bytes.end(), other.bytes.begin(), other.bytes.end())) << key;
    EXPECT_EQ(array->strings, other.strings) << key;
    return;
  }
  std::visit(
      [&](const auto& value) {
        using T = std::decay_t<decltype(value)>;
        if constexpr (!std::is_same_v<T, GgufArray>) {
          EXPECT_EQ(value, std::get<T>(b)) << key;
        }
      },
      a);
}

TEST(GgufWriter, RoundTripsEveryMetadataTypeAndTensor) {
  const TempFolder folder;
  const std::string path = folder.file("out.gguf");
  const ParsedImage original(full_image(2).bytes());
  const GgufMetadata metadata = metadata_of(*original);
  const std::vector<GgufTensorPlan> plans = plans_of(*original);
  GgufWriter writer(path, metadata, plans);
  for (const GgufTensor& tensor : original->tensors()) {
    // In two pieces: a tensor may come as it is made.
    const size_t half = tensor.view.data.size() / 2;
    writer.write(tensor.view.data.first(half));
    writer.write(tensor.view.data.subspan(half));
  }
  writer.commit();
  EXPECT_EQ(folder.n_files(), 1u);
  EXPECT_EQ(writer.bytes_written(), gguf_file_bytes(metadata, plans));

  const GgufFile copy = GgufFile::open(path);
  EXPECT_EQ(copy.version(), 3u);
  EXPECT_EQ(copy.file_bytes(), writer.bytes_written());
  ASSERT_EQ(copy.metadata().size(), original->metadata().size());
  for (size_t i = 0; i < copy.metadata().size(); ++i) {
    EXPECT_EQ(copy.metadata()[i].key, original->metadata()[i].key);
    expect_equal(copy.metadata()[i].value, original->metadata()[i].value, copy.metadata()[i].key);
  }
  ASSERT_EQ(copy.tensors().size(), original->tensors().size());
  for (const GgufTensor& tensor : original->tensors()) {
    const TensorView& view = copy.tensor(tensor.name).view;
    EXPECT_EQ(view.type, tensor.view.type);
    EXPECT_EQ(view.ne, tensor.view.ne);
    EXPECT_TRUE(std::equal(view.data.begin(), view.data.end(), tensor.view.data.begin(), tensor.view.data.end()));
    EXPECT_EQ(copy.tensor(tensor.name).n_dims, tensor.n_dims);
  }
}

TEST(GgufWriter, SettersWriteTheirTypes) {
  GgufMetadata metadata;
  metadata.set_uint32("u32", 1);
  metadata.set_uint64("u64", uint64_t{1} << 40);
  metadata.set_int32("i32", -5);
  metadata.set_float32("f32", 0.5f);
  metadata.set_bool("bool", true);
  metadata.set_string("string", "text");
  metadata.set_strings("strings", std::vector<std::string>{"a", "", "b"});
  metadata.set_floats("floats", std::vector<float>{1.0f, -1.0f});
  metadata.set_int32s("int32s", std::vector<int32_t>{-1, 2});
  metadata.set_string("u32", "replaced, in place");
  metadata.set_bool("gone", false);
  metadata.remove("gone");
  EXPECT_FALSE(metadata.has("gone"));
  EXPECT_TRUE(metadata.has("u64"));

  const std::vector<std::byte> image = gguf_header(metadata, {});
  const GgufFile file = GgufFile::parse(image, "header");
  ASSERT_EQ(file.metadata().size(), 9u);
  EXPECT_EQ(file.metadata()[0].key, "u32");
  EXPECT_EQ(file.get_string("u32"), "replaced, in place");
  EXPECT_EQ(file.get_uint("u64", 0, UINT64_MAX), uint64_t{1} << 40);
  EXPECT_EQ(std::get<int32_t>(file.find("i32")->value), -5);
  EXPECT_EQ(file.get_float("f32"), 0.5);
  EXPECT_TRUE(file.get_bool("bool", false));
  EXPECT_EQ(file.get_string("string"), "text");
  EXPECT_EQ(*file.get_strings("strings"), (std::vector<std::string_view>{"a", "", "b"}));
  EXPECT_EQ(file.get_floats("floats"), (std::vector<float>{1.0f, -1.0f}));
  EXPECT_EQ(file.get_ints("int32s"), (std::vector<int64_t>{-1, 2}));
}

TEST(GgufWriter, HeaderWithDataInMemoryIsAModelFile) {
  const std::vector<GgufTensorPlan> plans = {plan("a", TensorType::f32, 1, {3, 1, 1, 1}),
                                             plan("b", TensorType::q8_0, 2, {32, 2, 1, 1})};
  std::vector<std::byte> image = gguf_header({}, plans);
  EXPECT_EQ(image.size() % 32, 0u);
  const size_t data_start = image.size();
  image.resize(gguf_file_bytes({}, plans), std::byte{7});
  EXPECT_EQ(image.size(), data_start + 32 + 96);
  const GgufFile file = GgufFile::parse(image, "memory");
  EXPECT_EQ(file.tensor("a").view.data.data(), image.data() + data_start);
  EXPECT_EQ(file.tensor("b").view.data.data(), image.data() + data_start + 32);
  EXPECT_EQ(gguf_tensor_bytes(plans[1]), 68u);
}

TEST(GgufWriter, LeavesOutKeysOfTheSourceContainer) {
  test::GgufImage source;
  source.header(0, 3).key("general.alignment", GgufType::u32, uint32_t{64}).key("split.no", GgufType::u16, uint16_t{0});
  source.key("kept", GgufType::u8, uint8_t{1});
  const ParsedImage file(source.bytes());
  const GgufMetadata metadata = metadata_of(*file);
  ASSERT_EQ(metadata.entries().size(), 1u);
  EXPECT_EQ(metadata.entries()[0].key, "kept");
}

TEST(GgufWriter, RefusesInvalidPlansAndLeavesNoFile) {
  const TempFolder folder;
  const auto refuses = [&](const GgufMetadata& metadata, const std::vector<GgufTensorPlan>& plans,
                           const std::vector<std::string>& parts) {
    const auto write = [&] { const GgufWriter writer(folder.file("out.gguf"), metadata, plans); };
    expect_error(write, ErrorCode::invalid_argument, parts);
    EXPECT_EQ(folder.n_files(), 0u);
  };
  constexpr int64_t kHuge = int64_t{1} << 62;
  refuses({}, {plan("a", TensorType::q8_0, 1, {31, 1, 1, 1})}, {"'a'", "q8_0", "multiple of 32"});
  refuses({}, {plan("a", TensorType::f32, 0, {1, 1, 1, 1})}, {"0 dimensions"});
  refuses({}, {plan("a", TensorType::f32, 5, {1, 1, 1, 1})}, {"5 dimensions"});
  refuses({}, {plan("a", TensorType::f32, 1, {4, 2, 1, 1})}, {"past the last"});
  refuses({}, {plan("a", TensorType::f32, 2, {4, 0, 1, 1})}, {"at least 1"});
  refuses({}, {plan("a", TensorType::f32, 2, {4, -1, 1, 1})}, {"at least 1"});
  refuses({}, {plan("a", TensorType::i8, 2, {kHuge, 4, 1, 1})}, {"2^63"});
  refuses({}, {plan("a", TensorType::f64, 1, {kHuge, 1, 1, 1})}, {"'a'"});
  refuses({},
          {plan("a", TensorType::i8, 1, {kHuge, 1, 1, 1}), plan("b", TensorType::i8, 1, {kHuge, 1, 1, 1}),
           plan("c", TensorType::i8, 1, {kHuge, 1, 1, 1}), plan("d", TensorType::i8, 1, {kHuge, 1, 1, 1})},
          {"size of all tensors"});
  refuses({}, {plan("", TensorType::f32, 1, {1, 1, 1, 1})}, {"tensor name"});
  refuses({}, {plan("\xFF", TensorType::f32, 1, {1, 1, 1, 1})}, {"UTF-8"});
  refuses({}, {plan("a", TensorType::f32, 1, {1, 1, 1, 1}), plan("a", TensorType::f32, 1, {1, 1, 1, 1})}, {"twice"});
  GgufMetadata aligned;
  aligned.set_uint32("general.alignment", 64);
  refuses(aligned, {}, {"general.alignment"});
  GgufMetadata nameless;
  nameless.set_bool("", true);
  refuses(nameless, {}, {"metadata key"});
}

TEST(GgufWriter, RefusesMoreOrFewerBytesThanPlanned) {
  const TempFolder folder;
  const std::vector<GgufTensorPlan> plans = {plan("a", TensorType::f32, 1, {2, 1, 1, 1})};
  const std::vector<std::byte> bytes(9);
  {
    GgufWriter writer(folder.file("out.gguf"), {}, plans);
    expect_error([&] { writer.write(bytes); }, ErrorCode::internal, {"planned"});
    writer.write(std::span(bytes).first(4));
    expect_error([&] { writer.commit(); }, ErrorCode::internal, {"0 of 1"});
    writer.write(std::span(bytes).first(4));
    expect_error([&] { writer.write(std::span(bytes).first(1)); }, ErrorCode::internal, {"planned"});
  }
  EXPECT_EQ(folder.n_files(), 0u);
}

// Runs `child` in a process of its own, where limits and signals may be changed; gives its wait status.
int run_in_child(const std::function<int()>& child) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(child());
  int status = -1;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  return status;
}

void write_tensors(const std::string& path, size_t n_written) {
  const std::vector<GgufTensorPlan> plans = {plan("a", TensorType::f32, 2, {1024, 16, 1, 1}),
                                             plan("b", TensorType::f32, 2, {1024, 16, 1, 1})};
  const std::vector<std::byte> data(65536);
  GgufWriter writer(path, {}, plans);
  for (size_t i = 0; i < n_written; ++i) writer.write(data);
  if (n_written < plans.size()) ::raise(SIGKILL);
  writer.commit();
}

// A file size limit refuses writes as a full disk does, without needing a file system of its own.
TEST(GgufWriter, AFullDiskIsAnErrorAndLeavesTheOldFile) {
  const TempFolder folder;
  const std::string path = folder.file("model.gguf");
  for (const size_t n_old : {0, 1}) {
    const int status = run_in_child([&] {
      std::signal(SIGXFSZ, SIG_IGN);
      const rlimit limit{70000, 70000};
      if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 2;
      try {
        write_tensors(path, 2);
      } catch (const Error& e) {
        return e.code() == ErrorCode::resource_exhausted && std::string(e.what()).find(path) == 0 ? 0 : 3;
      }
      return 4;
    });
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 0);
    EXPECT_EQ(folder.n_files(), n_old);
    if (n_old == 1) {
      EXPECT_EQ(read_file(path, 100), "old");
    }
    write_file_atomically(path, "old");
  }
}

TEST(GgufWriter, ADeviceOrPipeIsNotReplaced) {
  const TempFolder folder;
  const std::string path = folder.file("pipe");
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  try {
    write_tensors(path, 2);
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::io);
    EXPECT_EQ(e.what(), path + ": cannot write: found a special file, expected a file name");
  }
  struct stat info {};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_TRUE(S_ISFIFO(info.st_mode));
  EXPECT_EQ(folder.n_files(), 1u);
}

TEST(GgufWriter, AKillHalfWayLeavesTheOldFile) {
  const TempFolder folder;
  const std::string path = folder.file("model.gguf");
  write_file_atomically(path, "old");
  const int status = run_in_child([&] {
    write_tensors(path, 1);
    return 0;
  });
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
  EXPECT_EQ(read_file(path, 100), "old");
}

}  // namespace

}  // namespace thimble
