#include "tasks/calibration_samples.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <functional>
#include <optional>
#include <unordered_set>

#include "base/error.h"
#include "base/file.h"
#include "base/function_ref.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/random.h"
#include "base/utf8.h"
#include "tasks/task.h"

namespace thimble {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kCalibSuffix = ".calib.jsonl";
constexpr std::string_view kEvalSuffix = ".eval.jsonl";
constexpr std::string_view kItemsSuffix = ".jsonl";
constexpr size_t kLongLine = 64;  // bytes: shorter lines ("Yes.", "---") are in many texts

struct Item {
  std::string id;
  std::vector<ChatMessage> messages;  // the last one may be the user's, where there is no reference
};

// Calls body(line, source) for each line that is not empty.
void for_each_line(const std::string& path, FunctionRef<void(std::string_view, const std::string&)> body) {
  const std::string content = read_file(path, kMaxTaskDataBytes);
  int line_number = 0;
  for (size_t at = 0; at < content.size();) {
    const size_t end = std::min(content.find('\n', at), content.size());
    const std::string_view line = std::string_view(content).substr(at, end - at);
    at = end + 1;
    const std::string source = fmt::format("{}: line {}", path, ++line_number);
    if (line.size() > kMaxTaskLineBytes) {
      fail(ErrorCode::resource_exhausted, "{}: found {} bytes, expected at most {} in one item", source, line.size(),
           kMaxTaskLineBytes);
    }
    if (line.find_first_not_of(" \t\r") != std::string_view::npos) body(line, source);
  }
}

std::vector<ChatMessage> read_messages(const JsonObject& object) {
  const Json& value = object.at("messages");
  if (!value.is_array() || value.empty()) {
    fail(ErrorCode::corrupt, "{}: key 'messages': found {}, expected an array of at least one message", object.source(),
         describe_json(value));
  }
  std::vector<ChatMessage> messages;
  for (size_t i = 0; i < value.size(); ++i) {
    const JsonObject message(value[i], fmt::format("{}: messages[{}]", object.source(), i));
    messages.push_back({message.string("role"), message.string("content")});
    const std::string& role = messages.back().role;
    if (role != "system" && role != "user" && role != "assistant") {
      fail(ErrorCode::corrupt, "{}: key 'role': found '{}', expected system, user or assistant", message.source(),
           role);
    }
  }
  return messages;
}

// Items of tasks, with the reference as the answer where the conversation ends with the user. Keys that calibration has
// no use for are left alone: tasks/task.h judges them.
std::vector<Item> read_items(const std::string& path) {
  std::vector<Item> items;
  for_each_line(path, [&](std::string_view line, const std::string& source) {
    if (!is_utf8(line)) fail(ErrorCode::corrupt, "{}: found bytes that are no UTF-8, expected UTF-8 text", source);
    const Json json = parse_json(line, source);
    const JsonObject object(json, source);
    Item item{object.string("id", ""), read_messages(object)};
    if (item.messages.back().role == "user" && object.has("refs")) {
      const Json& refs = object.at("refs");
      if (!refs.is_array() || (!refs.empty() && !refs[0].is_string())) {
        fail(ErrorCode::corrupt, "{}: key 'refs': found {}, expected an array of strings", source, describe_json(refs));
      }
      if (!refs.empty()) item.messages.push_back({"assistant", refs[0].get<std::string>()});
    }
    items.push_back(std::move(item));
  });
  if (items.empty()) fail(ErrorCode::corrupt, "{}: found no items, expected one JSON object a line", path);
  return items;
}

// What the user says: the same question with another reference is the same item.
std::string prompt_hash(const std::vector<ChatMessage>& messages) {
  std::string text;
  for (const ChatMessage& m : messages) {
    if (m.role == "user") text += m.content + '\0';
  }
  return content_hash(text);
}

std::string stem_of(const std::string& path, std::string_view suffix) {
  return path.substr(0, path.size() - suffix.size());
}

std::vector<std::string> files_with_suffix(const std::string& folder, std::string_view suffix) {
  std::vector<std::string> paths;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error); !error && entry != fs::directory_iterator();
       entry.increment(error)) {
    if (entry->path().filename().string().ends_with(suffix)) paths.push_back(entry->path().string());
  }
  if (error) fail(ErrorCode::io, "{}: cannot read the folder: {}", folder, error.message());
  std::sort(paths.begin(), paths.end());
  return paths;
}

// What must not be learned from.
class Excluded {
 public:
  void add(const std::string& path) {
    std::error_code ignored;
    if (!fs::is_directory(path, ignored)) {
      add_file(path);
      return;
    }
    for (const std::string& items : files_with_suffix(path, kEvalSuffix)) add_file(items);
    for (const std::string& task : files_with_suffix(path, kTaskSuffix)) {
      const Json json = read_json_file(task, kMaxTaskJsonBytes);
      add_file((fs::path(path) / JsonObject(json, task).string("data")).string());
    }
  }
  bool has(const Item& item) const { return ids_.count(item.id) > 0 || prompts_.count(prompt_hash(item.messages)) > 0; }
  bool has_line(std::string_view line) const {
    return line.size() >= kLongLine && lines_.count(content_hash(line)) > 0;
  }

 private:
  void add_file(const std::string& path) {
    if (!path.ends_with(kItemsSuffix)) {
      for_each_line(path, [&](std::string_view line, const std::string&) {
        if (line.size() >= kLongLine) lines_.insert(content_hash(line));
      });
      return;
    }
    for (const Item& item : read_items(path)) {
      if (!item.id.empty()) ids_.insert(item.id);
      prompts_.insert(prompt_hash(item.messages));
    }
  }

  std::unordered_set<std::string> ids_, prompts_, lines_;
};

// std::shuffle differs between standard libraries.
template <typename T>
void shuffle(std::vector<T>* values, uint64_t seed) {
  SplitMix64 random(seed);
  shuffle_values(*values, random);
}

struct Sample {
  std::vector<TokenId> tokens;
  bool cut = false;
};

struct Pool {
  SampleCount count;
  double weight = 1.0;
  std::vector<Sample> samples;
};

class SampleMaker {
 public:
  SampleMaker(const Tokenizer& tokenizer, const std::function<ChatTemplate()>& chat_template,
              const SampleSettings& settings)
      : tokenizer_(tokenizer), find_template_(chat_template), settings_(settings) {
    for (const std::string& path : settings.exclude) excluded_.add(path);
  }

  void add_source(const SampleSource& source) {
    std::error_code ignored;
    if (!fs::is_directory(source.path, ignored)) {
      add_file(source.path, source.weight);
      return;
    }
    excluded_.add(source.path);
    const std::vector<std::string> files = files_with_suffix(source.path, kCalibSuffix);
    if (files.empty()) {
      fail(
          ErrorCode::not_found,
          "{}: found no file NAME{}: items that the model is evaluated on are not calibrated on; name a .jsonl or text "
          "file",
          source.path, kCalibSuffix);
    }
    for (const std::string& file : files) add_file(file, source.weight / static_cast<double>(files.size()));
  }

  std::vector<Pool>& pools() { return pools_; }

 private:
  void add_file(const std::string& path, double weight) {
    Pool pool;
    pool.count.path = path;
    pool.count.is_text = !path.ends_with(kItemsSuffix);
    pool.weight = weight;
    pool.count.is_text ? add_text(&pool) : add_items(&pool);
    shuffle(&pool.samples, settings_.seed + 1000003 * pools_.size());
    pools_.push_back(std::move(pool));
  }

  void add(Pool* pool, Sample sample) {
    ++pool->count.n_found;
    const std::string hash = content_hash(std::as_bytes(std::span(sample.tokens)));
    if (!seen_.insert(hash).second) {
      ++pool->count.n_repeated;
      return;
    }
    pool->samples.push_back(std::move(sample));
  }

  // The system prompt of the task that the items belong to, when its NAME.task.json lies beside them.
  TaskSet task_of(const std::string& path) const {
    TaskSet task;
    const std::string stem = stem_of(path, path.ends_with(kCalibSuffix) ? kCalibSuffix : kItemsSuffix);
    const std::string file = stem + std::string(kTaskSuffix);
    std::error_code ignored;
    if (!fs::exists(file, ignored)) return task;
    const Json json = read_json_file(file, kMaxTaskJsonBytes);
    const JsonObject object(json, file);
    task.system = object.string("system", "");
    task.system_role = object.string("role", "system");
    return task;
  }

  void add_items(Pool* pool) {
    if (!template_) template_ = find_template_();
    const TaskSet task = task_of(pool->count.path);
    for (const Item& item : read_items(pool->count.path)) {
      if (excluded_.has(item)) {
        ++pool->count.n_excluded;
        continue;
      }
      TaskItem of_task;
      of_task.messages = item.messages;
      const std::vector<ChatMessage> messages = task_messages(task, of_task);
      const bool answered = messages.back().role == "assistant";
      Sample sample{encode_chat(tokenizer_, render_chat(*template_, messages, !answered)), false};
      sample.cut = static_cast<int64_t>(sample.tokens.size()) > settings_.n_context;
      if (sample.cut) sample.tokens.resize(static_cast<size_t>(settings_.n_context));
      add(pool, std::move(sample));
    }
  }

  void add_text(Pool* pool) {
    std::string text;
    for_each_line_with_ends(pool, &text);
    const std::vector<TokenId> all = tokenizer_.encode(text, SpecialTokens::as_text);
    const bool bos = tokenizer_.adds_bos() && tokenizer_.bos() != kNoToken;
    const size_t room = static_cast<size_t>(settings_.n_context) - (bos && settings_.n_context > 1 ? 1 : 0);
    for (size_t at = 0; at < all.size(); at += room) {
      const size_t n = std::min(room, all.size() - at);
      if (n < room && at > 0) break;  // the rest of the last piece
      Sample sample;
      if (bos && settings_.n_context > 1) sample.tokens.push_back(tokenizer_.bos());
      sample.tokens.insert(sample.tokens.end(), all.begin() + static_cast<std::ptrdiff_t>(at),
                           all.begin() + static_cast<std::ptrdiff_t>(at + n));
      add(pool, std::move(sample));
    }
  }

  // The text without lines that it is evaluated on.
  void for_each_line_with_ends(Pool* pool, std::string* text) const {
    const std::string content = read_file(pool->count.path, kMaxTaskDataBytes);
    for (size_t at = 0; at < content.size();) {
      const size_t end = std::min(content.find('\n', at), content.size() - 1) + 1;
      const std::string_view line = std::string_view(content).substr(at, end - at);
      at = end;
      const bool ended = line.ends_with('\n');
      if (excluded_.has_line(line.substr(0, line.size() - (ended ? 1 : 0)))) {
        ++pool->count.n_excluded;
      } else {
        text->append(line);
      }
    }
  }

  const Tokenizer& tokenizer_;
  const std::function<ChatTemplate()>& find_template_;
  const SampleSettings& settings_;
  std::optional<ChatTemplate> template_;
  Excluded excluded_;
  std::vector<Pool> pools_;
  std::unordered_set<std::string> seen_;
};

// Samples of each pool: its part of n by weight; what one lacks goes to the others by their weights. Ties and rests go
// to the earlier ones.
std::vector<size_t> divide(const std::vector<Pool>& pools, size_t n) {
  std::vector<size_t> taken(pools.size());
  for (size_t left = n; left > 0;) {
    double weights = 0;
    for (size_t i = 0; i < pools.size(); ++i) weights += taken[i] < pools[i].samples.size() ? pools[i].weight : 0.0;
    if (weights == 0) break;  // all are empty
    const size_t to_divide = left;
    for (size_t i = 0; i < pools.size() && left > 0; ++i) {
      const size_t room = pools[i].samples.size() - taken[i];
      const double part = std::ceil(static_cast<double>(to_divide) * pools[i].weight / weights);
      const size_t more = std::min({room, left, static_cast<size_t>(part)});
      taken[i] += more;
      left -= more;
    }
  }
  return taken;
}

std::string describe(const CalibrationSamples& samples, const SampleSettings& settings) {
  std::string text;
  for (const SampleCount& s : samples.sources) {
    text += fmt::format("{}: {} of {} {}, {} tokens; ", fs::path(s.path).filename().string(), s.n_taken, s.n_found,
                        s.is_text ? "pieces" : "items", s.n_tokens);
  }
  return text + fmt::format("context {}, seed {}", settings.n_context, settings.seed);
}

void warn(const CalibrationSamples& samples, const SampleSettings& settings, const Task& task) {
  for (const SampleCount& s : samples.sources) {
    if (s.n_excluded > 0) {
      task.say(LogLevel::warning, "{}: {} {} are part of the evaluation and were left out", s.path, s.n_excluded,
               s.is_text ? "lines" : "items");
    }
    if (s.n_cut > 0) {
      task.say(LogLevel::warning, "{}: {} of {} items were cut to the context of {} tokens", s.path, s.n_cut, s.n_taken,
               settings.n_context);
    }
    if (s.n_repeated > 0) task.say(LogLevel::info, "{}: {} repetitions were left out", s.path, s.n_repeated);
  }
  if (static_cast<int64_t>(samples.sequences.size()) < settings.n_samples) {
    task.say(LogLevel::warning, "{} samples of the {} asked for: the data has no more", samples.sequences.size(),
             settings.n_samples);
  }
}

}  // namespace

SampleSource parse_sample_source(const std::string& text) {
  const size_t at = text.rfind('=');
  if (at == std::string::npos) return {text, 1.0};
  double weight = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data() + at + 1, end, weight);
  if (error != std::errc() || stop != end || !(weight > 0) || !std::isfinite(weight)) {
    fail(ErrorCode::invalid_argument, "--data {}: found weight '{}', expected a number above 0", text,
         text.substr(at + 1));
  }
  return {text.substr(0, at), weight};
}

CalibrationSamples make_calibration_samples(const Tokenizer& tokenizer,
                                            const std::function<ChatTemplate()>& chat_template,
                                            std::span<const SampleSource> sources, const SampleSettings& settings,
                                            const Task& task) {
  if (settings.n_samples < 1 || settings.n_context < 1) {
    fail(ErrorCode::invalid_argument, "calibration: found {} samples of {} tokens, expected at least 1 of 1",
         settings.n_samples, settings.n_context);
  }
  SampleMaker maker(tokenizer, chat_template, settings);
  for (const SampleSource& source : sources) {
    task.check("calibrate");
    maker.add_source(source);
  }
  CalibrationSamples out;
  const std::vector<size_t> taken = divide(maker.pools(), static_cast<size_t>(settings.n_samples));
  for (size_t i = 0; i < taken.size(); ++i) {
    Pool& pool = maker.pools()[i];
    pool.count.n_taken = static_cast<int64_t>(taken[i]);
    for (size_t s = 0; s < taken[i]; ++s) {
      pool.count.n_cut += pool.samples[s].cut ? 1 : 0;
      pool.count.n_tokens += static_cast<int64_t>(pool.samples[s].tokens.size());
      out.sequences.push_back(std::move(pool.samples[s].tokens));
    }
    out.sources.push_back(pool.count);
  }
  if (out.sequences.empty()) fail(ErrorCode::invalid_argument, "calibration: the data leave no sample");
  shuffle(&out.sequences, settings.seed);
  out.description = describe(out, settings);
  warn(out, settings, task);
  return out;
}

}  // namespace thimble
