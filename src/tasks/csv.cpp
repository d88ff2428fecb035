#include "tasks/csv.h"

#include <algorithm>

#include "base/error.h"
#include "base/utf8.h"

namespace thimble {

namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

class CsvReader {
 public:
  CsvReader(std::string_view text, char delimiter, const std::string& source)
      : text_(text), delimiter_(delimiter), source_(source) {
    if (text_.starts_with(kByteOrderMark)) at_ = kByteOrderMark.size();
  }

  std::vector<CsvRow> run() {
    while (at_ < text_.size()) {
      CsvRow row;
      row.line = line_;
      do {
        row.fields.push_back(field());
      } while (take_delimiter());
      take_line_end();
      if (row.fields.size() == 1 && row.fields[0].empty()) continue;
      if (!rows_.empty() && row.fields.size() != rows_.front().fields.size()) {
        fail(ErrorCode::corrupt, "{}: line {}: found {} fields, expected {} as in the first line", source_, row.line,
             row.fields.size(), rows_.front().fields.size());
      }
      rows_.push_back(std::move(row));
    }
    return std::move(rows_);
  }

 private:
  [[noreturn]] void broken(int64_t line, std::string_view found, std::string_view expected) const {
    fail(ErrorCode::corrupt, "{}: line {}: found {}, expected {}", source_, line, found, expected);
  }

  bool at_line_end() const noexcept {
    const std::string_view rest = text_.substr(at_);
    return rest.empty() || rest.front() == '\n' || rest.starts_with("\r\n");
  }

  bool take_delimiter() noexcept {
    if (at_ >= text_.size() || text_[at_] != delimiter_) return false;
    ++at_;
    return true;
  }

  void take_line_end() noexcept {
    if (at_ >= text_.size()) return;
    at_ += text_[at_] == '\r' ? 2 : 1;
    ++line_;
  }

  std::string field() {
    const int64_t line = line_;
    std::string out = at_ < text_.size() && text_[at_] == '"' ? quoted() : plain();
    if (out.size() > kMaxCsvFieldBytes) {
      fail(ErrorCode::resource_exhausted, "{}: line {}: found a field of {} bytes, expected at most {}", source_, line,
           out.size(), kMaxCsvFieldBytes);
    }
    if (!is_utf8(out)) broken(line, "bytes that are no UTF-8", "UTF-8 text");
    return out;
  }

  std::string plain() {
    const size_t begin = at_;
    while (!at_line_end() && text_[at_] != delimiter_) {
      if (text_[at_] == '"')
        broken(line_, "a quote inside a field", "quotes around the whole field, those in it doubled");
      ++at_;
    }
    return std::string(text_.substr(begin, at_ - begin));
  }

  std::string quoted() {
    const int64_t opened = line_;
    std::string out;
    for (++at_;;) {
      const size_t quote = text_.find('"', at_);
      if (quote == std::string_view::npos) broken(opened, "a quote that is never closed", "a closing quote");
      const std::string_view piece = text_.substr(at_, quote - at_);
      line_ += std::count(piece.begin(), piece.end(), '\n');
      out += piece;
      at_ = quote + 1;
      if (at_ >= text_.size() || text_[at_] != '"') break;
      out.push_back('"');
      ++at_;
    }
    if (!at_line_end() && text_[at_] != delimiter_) {
      broken(line_, "text after a closing quote", "a delimiter or the end of the line");
    }
    return out;
  }

  std::string_view text_;
  char delimiter_;
  const std::string& source_;
  size_t at_ = 0;
  int64_t line_ = 1;
  std::vector<CsvRow> rows_;
};

}  // namespace

std::vector<CsvRow> parse_csv(std::string_view text, char delimiter, const std::string& source) {
  return CsvReader(text, delimiter, source).run();
}

}  // namespace thimble
