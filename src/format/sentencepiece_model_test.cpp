// SentencePiece reader: the model of nano, hand-made messages, and every truncation.
#include "format/sentencepiece_model.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/file.h"

namespace thimble {
namespace {

SentencePieceModel parse(const std::string& bytes) {
  return SentencePieceModel::parse(std::as_bytes(std::span(bytes)), "t");
}

std::string model_error(const std::string& bytes) {
  try {
    parse(bytes);
  } catch (const Error& e) {
    return fmt::format("{}: {}", error_code_name(e.code()), e.what());
  }
  return "";
}

// Field `number` of wire type 2 with fewer than 128 bytes.
std::string field(char number, const std::string& content) {
  return std::string{static_cast<char>(number << 3 | 2), static_cast<char>(content.size())} + content;
}
std::string piece(const std::string& text, const std::string& rest = "") {
  return field(1, field(1, text) + rest);
}

TEST(SentencePieceModel, ReadsNano) {
  const SentencePieceModel model =
      SentencePieceModel::open(std::string(THIMBLE_SOURCE_DIR) + "/models/nano/hf/tokenizer.model");
  // From the model card: 4096 pieces, byte fallback, ids of the control pieces, dummy prefix, identity.
  ASSERT_EQ(model.pieces.size(), 4096u);
  EXPECT_EQ(model.type, SentencePieceModel::Type::bpe);
  EXPECT_TRUE(model.byte_fallback);
  EXPECT_TRUE(model.add_dummy_prefix);
  EXPECT_FALSE(model.remove_extra_whitespaces);
  EXPECT_EQ(model.normalizer_name, "identity");
  EXPECT_EQ(model.unk_id, 0);
  EXPECT_EQ(model.bos_id, 1);
  EXPECT_EQ(model.eos_id, 2);
  EXPECT_EQ(model.pad_id, -1);
  EXPECT_EQ(model.pieces[0].kind, TokenKind::unknown);
  EXPECT_EQ(model.pieces[1].text, "<s>");
  EXPECT_EQ(model.pieces[1].kind, TokenKind::control);
  EXPECT_EQ(model.pieces[3].text, "<0x00>");
  EXPECT_EQ(model.pieces[3].kind, TokenKind::byte);
  EXPECT_EQ(model.pieces[4095].text, "<|im_end|>");
  EXPECT_EQ(model.pieces[4095].kind, TokenKind::control);
}

TEST(SentencePieceModel, TruncatedNanoIsNeverAccepted) {
  const std::string whole = read_file(std::string(THIMBLE_SOURCE_DIR) + "/models/nano/hf/tokenizer.model", 1 << 20);
  // Cuts between two pieces leave a shorter model that is well formed; all others are corrupt.
  size_t accepted = 0;
  for (size_t length = 0; length < 3000; ++length) {
    const std::string error = model_error(whole.substr(0, length));
    accepted += error.empty();
    EXPECT_TRUE(error.empty() || error.starts_with("corrupt: t: ")) << length << ": " << error;
  }
  EXPECT_LT(accepted, 250u);
  EXPECT_EQ(model_error(""), "corrupt: t: no pieces, expected a SentencePiece model");
}

TEST(SentencePieceModel, DefaultsAreTheSchemas) {
  const SentencePieceModel model = parse(piece("a") + piece("b") + piece("c"));
  EXPECT_EQ(model.type, SentencePieceModel::Type::unigram);
  EXPECT_EQ(model.pieces[0].kind, TokenKind::normal);
  EXPECT_EQ(model.pieces[0].score, 0.0f);
  EXPECT_TRUE(model.add_dummy_prefix);
  EXPECT_TRUE(model.escape_whitespaces);
}

TEST(SentencePieceModel, ReadsNegativeIdsAndSkipsUnknownFields) {
  const std::string minus_one = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
  const std::string trainer = std::string("\x18\x02", 2) + "\xc8\x02" + minus_one + "\xd0\x02" + minus_one;
  const SentencePieceModel model = parse(piece("a") + field(2, trainer) + field(9, "later version"));
  EXPECT_EQ(model.type, SentencePieceModel::Type::bpe);
  EXPECT_EQ(model.bos_id, -1);
  EXPECT_EQ(model.eos_id, -1);
}

TEST(SentencePieceModel, BadInput) {
  EXPECT_EQ(model_error(piece("a") + piece("a")), "corrupt: t: piece 1 'a' occurs twice");
  EXPECT_EQ(model_error(piece("")), "corrupt: t: piece 0 is empty");
  EXPECT_EQ(model_error(piece("\xff")), "corrupt: t: SentencePiece message: found text that is not UTF-8 as piece");
  EXPECT_EQ(model_error(piece("\xed\xa0\x80")),
            "corrupt: t: SentencePiece message: found text that is not UTF-8 as piece");
  EXPECT_EQ(model_error(piece("a", "\x18\x07")), "corrupt: t: SentencePiece message: found type 7, expected 1 to 6");
  EXPECT_EQ(model_error(piece("a", "\x18\x06")),
            "corrupt: t: piece 0 'a' is a byte, expected it to be spelled like <0x0A>");
  EXPECT_EQ(model_error(piece("a", std::string("\x15\x00\x00\x80\x7f", 5))),
            "corrupt: t: piece 0 'a' has score inf, expected a finite number");
  EXPECT_EQ(model_error("\x0a\x7f"), "corrupt: t: ModelProto message: found a field of 127 bytes where 0 are left");
  EXPECT_EQ(model_error("\x0b"),
            "corrupt: t: ModelProto message: found a wire type that protocol buffers no longer use");
  EXPECT_EQ(model_error(std::string(11, '\xff')),
            "corrupt: t: ModelProto message: found an integer of more than 64 bits");
  EXPECT_EQ(model_error(std::string(1, '\0')),
            "corrupt: t: ModelProto message: found a field number outside 1 to 2^29");
  EXPECT_EQ(model_error(piece("a") + field(2, "\x18\x09")),
            "corrupt: t: TrainerSpec message: found model_type 9, expected 1 to 4");
  EXPECT_EQ(model_error(piece("a") + field(2, std::string("\xc0\x02\x05", 3))),
            "corrupt: t: special id 5, expected less than 1 pieces");
}

}  // namespace
}  // namespace thimble
