// The one error of ByteReader.
#include "format/byte_reader.h"

#include "base/error.h"

namespace thimble {

void ByteReader::fail_truncated(uint64_t needed, std::string_view what) const {
  fail(ErrorCode::corrupt, "{}: {}: needs {} bytes at byte {}, found {} before the end of the file", source_,
       printable(what, 200), needed, offset_, remaining());
}

}  // namespace thimble
