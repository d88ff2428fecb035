// Which tokens end a turn, from ids in the metadata and from known spellings.
#pragma once

#include "format/gguf.h"

namespace thimble {

struct Vocabulary;

/// Fills `vocabulary.ends_generation` and turns known turn-ending spellings into control tokens.
/// Errors: corrupt for ids out of range.
void mark_end_of_generation(const GgufFile& gguf, Vocabulary& vocabulary);

}  // namespace thimble
