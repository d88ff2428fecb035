#include "format/sentencepiece_model.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <string_view>
#include <unordered_set>

#include "base/error.h"
#include "base/file.h"
#include "base/utf8.h"

namespace thimble {

namespace {

constexpr uint64_t kMaxModelBytes = 64 << 20;
constexpr size_t kMaxPieces = 1 << 22;

enum class Wire : uint32_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

struct Field {
  uint32_t number = 0;
  Wire wire = Wire::varint;
  uint64_t integer = 0;              // varint, fixed32 and fixed64
  std::span<const std::byte> bytes;  // bytes
};

// Walks over the fields of one message.
class MessageReader {
 public:
  MessageReader(std::span<const std::byte> bytes, const std::string& source, std::string_view message)
      : bytes_(bytes), source_(source), message_(message) {}

  // The next field, or nothing at the end.
  std::optional<Field> next() {
    if (position_ == bytes_.size()) return std::nullopt;
    const uint64_t tag = varint();
    Field field;
    field.number = static_cast<uint32_t>(tag >> 3);
    field.wire = static_cast<Wire>(tag & 7);
    if (tag >> 32 != 0 || field.number == 0) broken("a field number outside 1 to 2^29");
    switch (field.wire) {
      case Wire::varint:
        field.integer = varint();
        return field;
      case Wire::fixed64:
        field.integer = little_endian(8);
        return field;
      case Wire::fixed32:
        field.integer = little_endian(4);
        return field;
      case Wire::bytes:
        field.bytes = take(varint());
        return field;
    }
    broken("a wire type that protocol buffers no longer use");
  }

  std::string text(const Field& field, std::string_view what) const {
    if (field.wire != Wire::bytes) broken(fmt::format("a number as {}", what));
    const std::string_view view(reinterpret_cast<const char*>(field.bytes.data()), field.bytes.size());
    if (!is_utf8(view)) broken(fmt::format("text that is not UTF-8 as {}", what));
    return std::string(view);
  }

  std::span<const std::byte> message(const Field& field, std::string_view what) const {
    if (field.wire != Wire::bytes) broken(fmt::format("a number as {}", what));
    return field.bytes;
  }

  int32_t integer(const Field& field, std::string_view what) const {
    if (field.wire != Wire::varint) broken(fmt::format("something else than an integer as {}", what));
    const auto value = static_cast<int64_t>(field.integer);  // negative numbers are sign-extended to 64 bits
    if (value < INT32_MIN || value > INT32_MAX) broken(fmt::format("{} as {}, expected 32 bits", value, what));
    return static_cast<int32_t>(value);
  }

  float real(const Field& field, std::string_view what) const {
    if (field.wire != Wire::fixed32) broken(fmt::format("something else than a float as {}", what));
    return std::bit_cast<float>(static_cast<uint32_t>(field.integer));
  }

  [[noreturn]] void broken(const std::string& what) const {
    fail(ErrorCode::corrupt, "{}: {} message: found {}", source_, message_, what);
  }

 private:
  std::span<const std::byte> take(uint64_t count) {
    if (count > bytes_.size() - position_) {
      broken(fmt::format("a field of {} bytes where {} are left", count, bytes_.size() - position_));
    }
    const std::span<const std::byte> taken = bytes_.subspan(position_, static_cast<size_t>(count));
    position_ += static_cast<size_t>(count);
    return taken;
  }

  uint64_t little_endian(size_t count) {
    uint64_t value = 0;
    const std::span<const std::byte> raw = take(count);
    for (size_t i = 0; i < count; ++i) value |= static_cast<uint64_t>(raw[i]) << (8 * i);
    return value;
  }

  uint64_t varint() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
      const auto byte = static_cast<uint64_t>(take(1)[0]);
      if (shift == 63 && byte > 1) broken("an integer of more than 64 bits");
      value |= (byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    broken("an integer of more than 10 bytes");
  }

  std::span<const std::byte> bytes_;
  const std::string& source_;
  std::string_view message_;
  size_t position_ = 0;
};

SentencePieceModel::Piece parse_piece(std::span<const std::byte> bytes, const std::string& source) {
  MessageReader reader(bytes, source, "SentencePiece");
  SentencePieceModel::Piece piece;
  while (const auto field = reader.next()) {
    if (field->number == 1) piece.text = reader.text(*field, "piece");
    if (field->number == 2) piece.score = reader.real(*field, "score");
    if (field->number == 3) {
      const int32_t kind = reader.integer(*field, "type");
      if (kind < 1 || kind > 6) reader.broken(fmt::format("type {}, expected 1 to 6", kind));
      piece.kind = static_cast<TokenKind>(kind);
    }
  }
  return piece;
}

void parse_trainer(std::span<const std::byte> bytes, const std::string& source, SentencePieceModel& model) {
  MessageReader reader(bytes, source, "TrainerSpec");
  while (const auto field = reader.next()) {
    switch (field->number) {
      case 3: {
        const int32_t type = reader.integer(*field, "model_type");
        if (type < 1 || type > 4) reader.broken(fmt::format("model_type {}, expected 1 to 4", type));
        model.type = static_cast<SentencePieceModel::Type>(type);
        break;
      }
      case 35:
        model.byte_fallback = reader.integer(*field, "byte_fallback") != 0;
        break;
      case 40:
        model.unk_id = reader.integer(*field, "unk_id");
        break;
      case 41:
        model.bos_id = reader.integer(*field, "bos_id");
        break;
      case 42:
        model.eos_id = reader.integer(*field, "eos_id");
        break;
      case 43:
        model.pad_id = reader.integer(*field, "pad_id");
        break;
      default:
        break;
    }
  }
}

void parse_normalizer(std::span<const std::byte> bytes, const std::string& source, SentencePieceModel& model) {
  MessageReader reader(bytes, source, "NormalizerSpec");
  while (const auto field = reader.next()) {
    if (field->number == 1) model.normalizer_name = reader.text(*field, "name");
    if (field->number == 3) model.add_dummy_prefix = reader.integer(*field, "add_dummy_prefix") != 0;
    if (field->number == 4) model.remove_extra_whitespaces = reader.integer(*field, "remove_extra_whitespaces") != 0;
    if (field->number == 5) model.escape_whitespaces = reader.integer(*field, "escape_whitespaces") != 0;
  }
}

void check_pieces(const SentencePieceModel& model, const std::string& source) {
  if (model.pieces.empty()) fail(ErrorCode::corrupt, "{}: no pieces, expected a SentencePiece model", source);
  std::unordered_set<std::string_view> seen;
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const SentencePieceModel::Piece& piece = model.pieces[id];
    if (piece.text.empty()) fail(ErrorCode::corrupt, "{}: piece {} is empty", source, id);
    if (!seen.insert(piece.text).second) {
      fail(ErrorCode::corrupt, "{}: piece {} '{}' occurs twice", source, id, piece.text);
    }
    if (piece.kind == TokenKind::byte && !is_byte_spelling(piece.text)) {
      fail(ErrorCode::corrupt, "{}: piece {} '{}' is a byte, expected it to be spelled like <0x0A>", source, id,
           piece.text);
    }
    if (!(piece.score > -1e30f && piece.score < 1e30f)) {
      fail(ErrorCode::corrupt, "{}: piece {} '{}' has score {}, expected a finite number", source, id, piece.text,
           piece.score);
    }
  }
  const auto count = static_cast<int64_t>(model.pieces.size());
  for (const int32_t id : {model.unk_id, model.bos_id, model.eos_id, model.pad_id}) {
    if (id >= count) fail(ErrorCode::corrupt, "{}: special id {}, expected less than {} pieces", source, id, count);
  }
}

}  // namespace

SentencePieceModel SentencePieceModel::parse(std::span<const std::byte> bytes, const std::string& source) {
  SentencePieceModel model;
  MessageReader reader(bytes, source, "ModelProto");
  while (const auto field = reader.next()) {
    if (field->number == 1) {
      if (model.pieces.size() == kMaxPieces) reader.broken(fmt::format("more than {} pieces", kMaxPieces));
      model.pieces.push_back(parse_piece(reader.message(*field, "pieces"), source));
    }
    if (field->number == 2) parse_trainer(reader.message(*field, "trainer_spec"), source, model);
    if (field->number == 3) parse_normalizer(reader.message(*field, "normalizer_spec"), source, model);
  }
  check_pieces(model, source);
  return model;
}

SentencePieceModel SentencePieceModel::open(const std::string& path) {
  const std::string content = read_file(path, kMaxModelBytes);
  return parse(std::as_bytes(std::span(content)), path);
}

std::string_view sentencepiece_type_name(SentencePieceModel::Type type) noexcept {
  switch (type) {
    case SentencePieceModel::Type::unigram:
      return "unigram";
    case SentencePieceModel::Type::bpe:
      return "bpe";
    case SentencePieceModel::Type::word:
      return "word";
    case SentencePieceModel::Type::character:
      return "char";
  }
  return "?";
}

}  // namespace thimble
