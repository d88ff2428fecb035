// Which tokens begin, end, pad and separate: four files of a Hugging Face folder may say, and they may disagree.
#pragma once

#include "convert/vocabulary.h"

namespace thimble {

/// Sets bos, eos, unk, pad, eot, add_bos and add_eos of a vocabulary whose tokens are complete. In order of authority:
/// tokenizer_config.json, config.json, the tokenizer file; generation_config.json's list gives the end of a turn.
/// Errors: corrupt, when a begin or end token is outside the vocabulary.
void assign_special_tokens(const HfFolder& folder, HfVocabulary& vocabulary);

}  // namespace thimble
