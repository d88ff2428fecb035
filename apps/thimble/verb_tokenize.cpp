// thimble tokenize: token ids and pieces of a text, or the text of token ids.
#include <fmt/format.h>

#include <array>
#include <cstdio>
#include <iostream>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "text/tokenizer.h"
#include "text/unicode.h"
#include "verbs.h"

namespace thimble::cli {

namespace {

constexpr uint64_t kMaxTextBytes = uint64_t{1} << 30;

struct TokenizeOptions {
  std::string model;
  std::string text;
  std::string file;
  std::string ids;
  bool parse_special = false;
  bool no_bos = false;
  CLI::Option* text_option = nullptr;
  CLI::Option* decode_option = nullptr;
};

std::string read_text(const TokenizeOptions& options) {
  if (options.text_option->count() > 0) return options.text;
  if (!options.file.empty()) return read_file(options.file, kMaxTextBytes);
  std::string text;
  std::array<char, 1 << 16> piece;
  while (std::cin.read(piece.data(), piece.size()), std::cin.gcount() > 0) {
    text.append(piece.data(), static_cast<size_t>(std::cin.gcount()));
    if (text.size() > kMaxTextBytes) {
      fail(ErrorCode::resource_exhausted, "standard input: more than {} bytes, expected at most that", kMaxTextBytes);
    }
  }
  return text;
}

/// Ids separated by commas or white space. Errors: invalid_argument.
std::vector<TokenId> parse_ids(const std::string& list, const Tokenizer& tokenizer) {
  std::vector<TokenId> ids;
  size_t pos = 0;
  while ((pos = list.find_first_not_of(", \t\n", pos)) != std::string::npos) {
    const size_t end = std::min(list.find_first_of(", \t\n", pos), list.size());
    int64_t id = 0;
    for (const char c : list.substr(pos, end - pos)) {
      id = c >= '0' && c <= '9' && id <= std::numeric_limits<int32_t>::max() ? id * 10 + (c - '0') : int64_t{1} << 40;
    }
    if (id >= tokenizer.n_vocab()) {
      fail(ErrorCode::invalid_argument, "--decode: found \"{}\", expected token ids from 0 to {}",
           list.substr(pos, std::min<size_t>(end - pos, 64)), tokenizer.n_vocab() - 1);
    }
    ids.push_back(static_cast<TokenId>(id));
    pos = end;
  }
  return ids;
}

/// A piece on one line: control bytes, quotes and invalid UTF-8 escaped.
std::string printable(std::string_view piece) {
  std::string text;
  while (!piece.empty()) {
    const Utf8Step step = decode_utf8(piece);
    const std::string_view part = piece.substr(0, step.length);
    if (step.valid && step.code_point >= 0x20 && step.code_point != 0x7F && part != "\"" && part != "\\") {
      text += part;
    } else if (step.valid && (part == "\"" || part == "\\")) {
      text.append("\\").append(part);
    } else {
      for (const char c : part) text += fmt::format("\\x{:02x}", static_cast<unsigned>(static_cast<unsigned char>(c)));
    }
    piece.remove_prefix(step.length);
  }
  return text;
}

void print_decoded(const Tokenizer& tokenizer, const TokenizeOptions& options, bool json) {
  const std::vector<TokenId> ids = parse_ids(options.ids, tokenizer);
  const std::string text = tokenizer.decode(ids, options.parse_special);
  if (json) {
    std::cout << Json{{"tokens", ids}, {"text", text}}.dump() << '\n';
  } else {
    std::cout << text << '\n';
  }
}

void print_encoded(const Tokenizer& tokenizer, const TokenizeOptions& options, bool json) {
  const SpecialTokens special = options.parse_special ? SpecialTokens::parse : SpecialTokens::as_text;
  const std::string text = read_text(options);
  const std::vector<TokenId> ids =
      options.no_bos ? tokenizer.encode(text, special) : tokenizer.encode_prompt(text, special);
  if (json) {
    Json pieces = Json::array();
    // A piece may be part of a character; JSON must be UTF-8, so such bytes are escaped as in the plain listing.
    for (const TokenId id : ids) {
      const std::string_view piece = tokenizer.piece(id, true);
      pieces.push_back(is_utf8(piece) ? std::string(piece) : printable(piece));
    }
    std::cout << Json{{"tokens", ids}, {"pieces", std::move(pieces)}}.dump() << '\n';
    return;
  }
  for (const TokenId id : ids) std::cout << fmt::format("{:>8}  \"{}\"\n", id, printable(tokenizer.piece(id, true)));
}

}  // namespace

void add_tokenize(CLI::App& app, Context& context) {
  CLI::App* verb = app.add_subcommand("tokenize", "Print the token ids and pieces of a text, or the text of ids.");
  auto options = std::make_shared<TokenizeOptions>();
  verb->add_option("model", options->model, "GGUF file")->required();
  options->text_option = verb->add_option("--text", options->text, "text; without --text and --file: standard input");
  CLI::Option* file = verb->add_option("--file", options->file, "file that holds the text");
  verb->add_flag("--parse-special", options->parse_special,
                 "recognise control tokens spelled in the text; with --decode: show them");
  verb->add_flag("--no-bos", options->no_bos, "leave out BOS and EOS");
  options->decode_option = verb->add_option("--decode", options->ids, "token ids, separated by commas or spaces");
  options->text_option->excludes(file)->excludes(options->decode_option);
  file->excludes(options->decode_option);
  verb->callback([options, &context] {
    const Tokenizer tokenizer(GgufFile::open(options->model));
    if (options->decode_option->count() > 0) {
      print_decoded(tokenizer, *options, context.json);
    } else {
      print_encoded(tokenizer, *options, context.json);
    }
    // A full disk or a closed pipe must not look like success.
    if (!std::cout.flush()) fail(ErrorCode::io, "standard output: cannot be written");
  });
}

}  // namespace thimble::cli
