// Hostile files: truncation at every byte, absurd numbers in every 64-bit field, and the root causes of published GGUF
// vulnerabilities (CVE numbers beside the tests). Run under ASan and UBSan these must end in Error, never in anything
// else.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "format/gguf.h"
#include "format/gguf_test_image.h"
#include "tensor/tensor_type.h"

namespace {

std::atomic<uint64_t> g_allocated{0};  // bytes asked for since the start, never taken back

void* count_and_allocate(size_t size) {
  g_allocated.fetch_add(size, std::memory_order_relaxed);
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

// All of them: memory from an operator that is not replaced must not reach one that is. Not inlined: GCC 12 would see
// the free() of one half beside the operator new of the other and report a mismatch.
[[gnu::noinline]] void* operator new(size_t size) {
  return count_and_allocate(size);
}
[[gnu::noinline]] void* operator new[](size_t size) {
  return count_and_allocate(size);
}
[[gnu::noinline]] void* operator new(size_t size, const std::nothrow_t&) noexcept {
  return std::malloc(size == 0 ? 1 : size);
}
[[gnu::noinline]] void* operator new[](size_t size, const std::nothrow_t&) noexcept {
  return std::malloc(size == 0 ? 1 : size);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete[](void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete[](void* memory, size_t) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, const std::nothrow_t&) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete[](void* memory, const std::nothrow_t&) noexcept {
  std::free(memory);
}

namespace thimble {

namespace {

using test::expect_refused;
using test::full_image;
using test::GgufImage;
using test::ParsedImage;

constexpr uint64_t kEdges[] = {0,
                               1,
                               (uint64_t{1} << 31) - 1,
                               (uint64_t{1} << 31) + 1,
                               uint64_t{1} << 32,
                               uint64_t{1} << 61,
                               uint64_t{1} << 62,
                               (uint64_t{1} << 63) - 1,
                               uint64_t{1} << 63,
                               UINT64_MAX};

std::string with_u64(std::string bytes, size_t offset, uint64_t value) {
  std::memcpy(bytes.data() + offset, &value, sizeof(value));
  return bytes;
}

// CVE-2024-32878, CVE-2024-41130, CVE-2024-39720: errors half-way through a field must release what was read so far.
TEST(GgufHostile, TruncationAtEveryByteIsAnError) {
  const std::string bytes = full_image().bytes();
  ASSERT_NO_THROW(ParsedImage{bytes});
  for (size_t n = 0; n < bytes.size(); ++n) {
    test::expect_error([&] { const ParsedImage parsed(bytes.substr(0, n)); }, ErrorCode::corrupt, {"image.gguf"});
  }
}

// CVE-2024-21802, -21825, -21836, -23496, -23605: multiplications and additions on these fields once wrapped.
TEST(GgufHostile, EdgeValuesInEveryU64) {
  const GgufImage image = full_image();
  size_t refused = 0;
  for (const size_t offset : image.u64_offsets()) {
    for (const uint64_t value : kEdges) {
      try {
        const ParsedImage parsed(with_u64(image.bytes(), offset, value));
        EXPECT_LT(value, uint64_t{1} << 31) << "byte " << offset << " = " << value;
      } catch (const Error& e) {
        ++refused;
        EXPECT_NE(std::string(e.what()).find("image.gguf"), std::string::npos) << e.what();
      }
    }
  }
  EXPECT_GT(refused, image.u64_offsets().size() * 7);
}

// Every single byte of the header set to a few values: only Error may come out.
TEST(GgufHostile, EdgeValuesInEveryByte) {
  const GgufImage image = full_image();
  for (size_t i = 0; i < image.data_start(); ++i) {
    for (const int value : {0x00, 0x01, 0x7F, 0x80, 0xFF}) {
      std::string bytes = image.bytes();
      bytes[i] = static_cast<char>(value);
      try {
        const ParsedImage parsed(bytes);
        EXPECT_LE(parsed->tensors().size(), 3u);
      } catch (const Error& e) {
        EXPECT_TRUE(e.code() == ErrorCode::corrupt || e.code() == ErrorCode::unsupported) << e.what();
      }
    }
  }
}

TEST(GgufHostile, ShortFilesOfAnyLength) {
  for (size_t n = 0; n < 64; ++n) {
    std::string bytes = "GGUF";
    bytes.resize(n, '\0');
    EXPECT_THROW(ParsedImage{bytes}, Error) << n;
    EXPECT_THROW(ParsedImage{std::string(n, '\xFF')}, Error) << n;
  }
}

TEST(GgufHostile, RefusesOtherMagicVersionsAndByteOrders) {
  GgufImage other;
  expect_refused(other.raw("GGML").raw(std::string(60, '\0')), ErrorCode::corrupt, "expected a GGUF file");
  for (const uint32_t version : {0u, 1u, 4u, 0x7FFFFFFFu}) {
    expect_refused(GgufImage().header(0, 0, version), ErrorCode::unsupported, fmt::format("version {}", version));
  }
  expect_refused(GgufImage().header(0, 0, 0x03000000), ErrorCode::unsupported, "big-endian");
}

TEST(GgufHostile, RefusesCountsThatTheFileCannotHold) {
  expect_refused(GgufImage().header(0, 3).key("a", GgufType::u8, uint8_t{1}), ErrorCode::corrupt,
                 "3 metadata keys declared");
  expect_refused(GgufImage().header(UINT64_MAX, 0), ErrorCode::corrupt, "tensors declared");
  expect_refused(GgufImage().header(0, UINT64_MAX / 14 + 1), ErrorCode::corrupt, "metadata keys declared");
  expect_refused(GgufImage().header(0, kGgufMaxKeys + 1).raw(std::string(200000, '\0')), ErrorCode::unsupported,
                 "expected at most 8192");
  expect_refused(GgufImage().header(kGgufMaxTensors + 1, 0).raw(std::string(1000000, '\0')), ErrorCode::unsupported,
                 "expected at most 16384");
}

// CVE-2025-0317: general.alignment = 0 divided by zero; 2 aborts a loader that casts the data.
TEST(GgufHostile, RefusesAlignmentsThatAreNoPowerOfTwoFromEight) {
  for (const uint32_t alignment : {0u, 1u, 2u, 4u, 24u, 33u, 1u << 21, 0x80000000u, 0xFFFFFFFFu}) {
    expect_refused(GgufImage().header(0, 1).key("general.alignment", GgufType::u32, alignment), ErrorCode::corrupt,
                   "'general.alignment'");
  }
  expect_refused(GgufImage().header(0, 1).key("general.alignment", GgufType::f32, 32.0f), ErrorCode::corrupt,
                 "'general.alignment'");
}

TEST(GgufHostile, RefusesBadKeys) {
  const auto image = [](std::string_view key) { return GgufImage().header(0, 1).key(key, GgufType::u8, uint8_t{1}); };
  ASSERT_NO_THROW(ParsedImage{image("k\xC3\xA4").bytes()});
  expect_refused(image(""), ErrorCode::corrupt, "0 bytes");
  for (const char* bad : {"a\xFF", "\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x82", "\x80"}) {
    expect_refused(image(bad), ErrorCode::corrupt, "not UTF-8");
  }
  expect_refused(image(std::string_view("a\0b", 3)), ErrorCode::corrupt, "'a?b'");
  expect_refused(image(std::string(65536, 'a')), ErrorCode::corrupt, "65536 bytes");
  GgufImage twice;
  twice.header(0, 2).key("same", GgufType::u8, uint8_t{1}).key("same", GgufType::u8, uint8_t{1});
  expect_refused(twice, ErrorCode::corrupt, "'same': found twice");
}

TEST(GgufHostile, RefusesBadValues) {
  const auto head = [] { return GgufImage().header(0, 1); };
  expect_refused(head().key("b", GgufType::boolean, uint8_t{2}), ErrorCode::corrupt, "bool 2");
  expect_refused(head().array("b", GgufType::boolean, 2).put(uint8_t{0}).put(uint8_t{255}), ErrorCode::corrupt,
                 "bool 255");
  expect_refused(head().key("t", static_cast<GgufType>(13), uint64_t{0}), ErrorCode::corrupt, "value type 13");
  expect_refused(head().array("t", static_cast<GgufType>(0xFFFFFFFF), 1).put(uint64_t{0}), ErrorCode::corrupt,
                 "element type 4294967295");
  // Nested arrays: a recursive reader overflows its stack.
  GgufImage nested = head().array("n", GgufType::array, 1);
  for (int i = 0; i < 1000; ++i) nested.put(static_cast<uint32_t>(GgufType::array)).put(uint64_t{1});
  expect_refused(nested, ErrorCode::unsupported, "array of arrays");
  // CVE-2025-66959, CVE-2026-65315: an allocation from a length not compared with the file.
  for (const GgufType element : {GgufType::u8, GgufType::string, GgufType::f64}) {
    for (const uint64_t count : {uint64_t{17}, uint64_t{1} << 61, UINT64_MAX}) {
      expect_refused(head().array("n", element, count).raw("0123456789abcdef"), ErrorCode::corrupt, "'n'");
    }
  }
}

GgufImage one_tensor(const std::vector<uint64_t>& ne, uint32_t type, uint64_t offset, size_t n_bytes) {
  return GgufImage().header(1, 0).tensor("w", ne, type, offset).data(n_bytes);
}

TEST(GgufHostile, RefusesBadTensors) {
  ASSERT_NO_THROW(ParsedImage{one_tensor({4, 2}, 0, 0, 32).bytes()});
  expect_refused(one_tensor({}, 0, 0, 32), ErrorCode::corrupt, "0 dimensions");
  expect_refused(one_tensor({1, 1, 1, 1, 1}, 0, 0, 32), ErrorCode::corrupt, "5 dimensions");
  expect_refused(one_tensor({0, 2}, 0, 0, 32), ErrorCode::corrupt, "dimension 0 = 0");
  expect_refused(one_tensor({4, 0}, 0, 0, 32), ErrorCode::corrupt, "dimension 1 = 0");
  expect_refused(one_tensor({uint64_t{1} << 63}, 24, 0, 32), ErrorCode::corrupt, "dimension 0");  // negative as i64
  expect_refused(one_tensor({uint64_t{1} << 32, uint64_t{1} << 32}, 24, 0, 32), ErrorCode::corrupt, "dimension 1");
  expect_refused(one_tensor({31}, 8, 0, 34), ErrorCode::corrupt, "multiple of 32 (q8_0)");
  expect_refused(one_tensor({4, 2}, 0, 8, 64), ErrorCode::corrupt, "offset 8");
  // CVE-2026-7482: data declared past the end; a quantizer then copies foreign memory into its output.
  expect_refused(one_tensor({4, 2}, 0, 0, 31), ErrorCode::corrupt, "'w'");
  expect_refused(one_tensor({4, 2}, 0, 32, 32), ErrorCode::corrupt, "offset 32");
  expect_refused(one_tensor({4, 2}, 0, UINT64_MAX - 31, 32), ErrorCode::corrupt, "offset");
  expect_refused(GgufImage().header(1, 0).tensor("w\xFF", {4}, 0, 0).data(16), ErrorCode::corrupt, "not UTF-8");
  expect_refused(GgufImage().header(1, 0).tensor("", {4}, 0, 0).data(16), ErrorCode::corrupt, "tensor name");
  expect_refused(GgufImage().header(1, 0).tensor(std::string(256, 'w'), {4}, 0, 0).data(16), ErrorCode::corrupt,
                 "256 bytes");
  expect_refused(GgufImage().header(2, 0).tensor("w", {4}, 0, 0).tensor("w", {4}, 0, 32).data(64), ErrorCode::corrupt,
                 "'w': found twice");
  expect_refused(GgufImage().header(2, 0).tensor("a", {16}, 0, 0).tensor("b", {4}, 0, 32).data(64), ErrorCode::corrupt,
                 "'b': found data that overlaps tensor 'a'");
}

TEST(GgufHostile, NamesTensorAndIdOfUnknownTypes) {
  for (const uint32_t id : {4u, 5u, 9u, 15u, 16u, 31u, 36u, 255u, 999u, 1004u, 0xFFFFFFFFu}) {
    ASSERT_EQ(find_type(id), nullptr);
    expect_refused(one_tensor({256}, id, 0, 4096), ErrorCode::unsupported, fmt::format("'w': found type id {}", id));
  }
}

// CVE-2026-33298, CVE-2025-53630, CVE-2026-27940: dimensions times type size, and their sum over tensors, at the edges.
TEST(GgufHostile, RefusesSizesThatWrapForEveryType) {
  for (const TypeTraits& type : all_types()) {
    const auto id = static_cast<uint32_t>(type.type);
    for (const uint64_t n : {uint64_t{1} << 32, uint64_t{1} << 61, uint64_t{1} << 62, (uint64_t{1} << 63) - 256}) {
      expect_refused(one_tensor({n}, id, 0, 4096), ErrorCode::corrupt, "'w'");
      expect_refused(one_tensor({256, n / 256}, id, 0, 4096), ErrorCode::corrupt, "'w'");
      GgufImage two;
      two.header(2, 0).tensor("a", {n}, id, 0).tensor("b", {n}, id, n).data(4096);
      expect_refused(two, ErrorCode::corrupt, "'a'");
    }
  }
}

// Parsing may allocate 4 times the file and 1 MB, whatever the file declares.
uint64_t allocated_by_parsing(const std::string& bytes) {
  const uint64_t before = g_allocated.load();
  try {
    const GgufFile file = GgufFile::parse(std::as_bytes(std::span(bytes)), "image.gguf");
    return g_allocated.load() - before;
  } catch (const Error&) {
    return g_allocated.load() - before;
  }
}

TEST(GgufHostile, StaysWithinTheAllocationBudget) {
  std::vector<std::string> images;
  const GgufImage full = full_image();
  for (const size_t offset : full.u64_offsets()) {
    for (const uint64_t value : kEdges) images.push_back(with_u64(full.bytes(), offset, value));
  }
  GgufImage keys;
  keys.header(0, kGgufMaxKeys);
  for (uint64_t i = 0; i < kGgufMaxKeys; ++i) keys.key(fmt::format("{:x}", i), GgufType::u8, uint8_t{0});
  images.push_back(keys.bytes());
  GgufImage strings;
  strings.header(0, 1).array("s", GgufType::string, 1 << 18).raw(std::string(8 << 18, '\0'));
  images.push_back(strings.bytes());
  GgufImage tensors;
  tensors.header(kGgufMaxTensors, 1).key("general.alignment", GgufType::u32, uint32_t{8});
  for (uint64_t i = 0; i < kGgufMaxTensors; ++i) tensors.tensor(fmt::format("{:x}", i), {1}, 24, i * 8);
  images.push_back(tensors.data(kGgufMaxTensors * 8, 8).bytes());
  EXPECT_EQ(ParsedImage(images.back())->tensors().size(), kGgufMaxTensors);
  for (const std::string& bytes : images) {
    EXPECT_LE(allocated_by_parsing(bytes), 4 * bytes.size() + (1 << 20)) << bytes.size() << " bytes";
  }
}

}  // namespace

}  // namespace thimble
