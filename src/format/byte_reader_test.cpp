// Bounds of the cursor over hostile bytes.
#include "format/byte_reader.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace thimble {

namespace {

TEST(ByteReader, ReadsAndStopsAtTheEnd) {
  const std::string source = "file.bin";
  const std::string bytes("\x01\x02\x03\x00\x00\x00\x00\x00\x00\x00xyz!", 14);
  ByteReader reader(std::as_bytes(std::span(bytes)), source);
  EXPECT_EQ(reader.number<uint16_t>("first"), 0x0201u);
  EXPECT_EQ(reader.string("text"), "xyz");
  EXPECT_EQ(reader.offset(), 13u);
  EXPECT_EQ(reader.remaining(), 1u);
  try {
    reader.number<uint32_t>("last");
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "file.bin: last: needs 4 bytes at byte 13, found 1 before the end of the file");
  }
  EXPECT_THROW(reader.take(UINT64_MAX, "all"), Error);
  EXPECT_EQ(reader.take(1, "rest")[0], std::byte{'!'});
  EXPECT_EQ(reader.remaining(), 0u);
}

}  // namespace

}  // namespace thimble
