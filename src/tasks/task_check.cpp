#include "tasks/task_check.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <unordered_map>

#include "base/error.h"
#include "base/hash.h"
#include "base/utf8.h"
#include "metrics/code_points.h"
#include "tasks/near_duplicates.h"
#include "tasks/task_data.h"

namespace thimble {

namespace {

namespace fs = std::filesystem;

constexpr size_t kShown = 3;            // examples in a finding
constexpr size_t kFewClusters = 10;     // below it, intervals over clusters say little
constexpr double kNearlyTheSame = 0.8;  // Jaccard index
constexpr std::string_view kCalibrationSuffix = ".calib.jsonl";

std::string user_text(const TaskItem& item) {
  std::string text;
  for (const ChatMessage& m : item.messages) {
    if (m.role == "user") text += m.content + "\n";
  }
  return text;
}

// Names of the first few of a list, and how many there are.
class Examples {
 public:
  void add(const std::string& name) {
    if (++n_ > kShown) return;
    text_ += (text_.empty() ? "" : ", ") + name;
  }
  size_t size() const noexcept { return n_; }
  std::string text() const { return text_ + (n_ > kShown ? ", ..." : ""); }

 private:
  size_t n_ = 0;
  std::string text_;
};

std::string name_of(const TaskItem& item) {
  return fmt::format("line {} ({})", item.line, printable(item.id, 40));
}

void add(std::vector<Finding>& findings, const Examples& examples, bool is_problem, std::string_view what) {
  if (examples.size() == 0) return;
  findings.push_back({is_problem, fmt::format("{} ({}): {}", what, examples.size(), examples.text())});
}

TokenLengths lengths_of(std::vector<int64_t> lengths) {
  if (lengths.empty()) return {};
  std::sort(lengths.begin(), lengths.end());
  return {lengths.front(), lengths[lengths.size() / 2], lengths.back()};
}

void check_prompts(const TaskSet& task, const CheckModel& model, TaskCheck& out) {
  std::vector<int64_t> lengths;
  Examples too_long, impossible;
  std::string reason;
  for (const TaskItem& item : task.items) {
    int64_t n = 0;
    try {
      n = static_cast<int64_t>(
          encode_chat(*model.tokenizer, render_chat(model.chat_template, task_messages(task, item), true)).size());
    } catch (const Error& e) {
      reason = e.what();
      impossible.add(name_of(item));
      continue;
    }
    lengths.push_back(n);
    if (n + task.max_tokens > model.n_ctx) {
      too_long.add(fmt::format("{} with {} + {} tokens", name_of(item), n, task.max_tokens));
    }
  }
  out.prompts = lengths_of(std::move(lengths));
  add(out.findings, too_long, true,
      fmt::format("items do not fit the context of {} tokens, prompt and gen.max_tokens together", model.n_ctx));
  add(out.findings, impossible, true, fmt::format("items cannot be written in the chat template ({})", reason));
}

void check_answers(const TaskSet& task, const CheckModel& model, TaskCheck& out) {
  std::vector<int64_t> lengths;
  Examples cut;
  for (const TaskItem& item : task.items) {
    int64_t shortest = 0;
    for (const std::string& reference : item.refs) {
      const auto n = static_cast<int64_t>(model.tokenizer->encode(reference, SpecialTokens::as_text).size());
      lengths.push_back(n);
      shortest = shortest == 0 ? n : std::min(shortest, n);
    }
    if (shortest > task.max_tokens) cut.add(fmt::format("{} with {}", name_of(item), shortest));
  }
  if (!lengths.empty()) out.answers = lengths_of(std::move(lengths));
  add(out.findings, cut, false,
      fmt::format("references are longer than gen.max_tokens, {} tokens: right answers would be cut", task.max_tokens));
}

// What can be said of answers without a model: references are answers.
void check_references(const TaskSet& task, TaskCheck& out) {
  Examples stopped, broken;
  std::string rule;
  for (const TaskItem& item : task.items) {
    for (const std::string& reference : item.refs) {
      const bool stops = std::any_of(task.stop.begin(), task.stop.end(), [&](const std::string& stop) {
        return reference.find(stop) != std::string::npos;
      });
      if (stops) stopped.add(name_of(item));
      const std::string first = broken_format_rule(task.format, reference, item.items.size());
      if (first.empty()) continue;
      if (rule.empty()) rule = first;
      broken.add(name_of(item));
    }
  }
  add(out.findings, stopped, false, "references contain a stop text: right answers would be cut");
  add(out.findings, broken, false, fmt::format("references break a rule of 'format' ({})", rule));
}

void check_duplicates(const TaskSet& task, TaskCheck& out) {
  std::unordered_map<std::string, const TaskItem*> first;
  std::vector<std::string> texts;
  Examples same, nearly;
  for (const TaskItem& item : task.items) {
    const auto [it, is_new] = first.emplace(prompt_identity(item), &item);
    if (!is_new) same.add(fmt::format("{} as {}", name_of(item), name_of(*it->second)));
    texts.push_back(user_text(item));
  }
  for (const NearPair& pair : near_duplicates(texts, kNearlyTheSame)) {
    const TaskItem& a = task.items[pair.first];
    const TaskItem& b = task.items[pair.second];
    // Items of one cluster may be alike: they are counted as one.
    if (a.cluster == b.cluster || prompt_identity(a) == prompt_identity(b)) continue;
    nearly.add(fmt::format("{} as {} ({:.0f} %)", name_of(b), name_of(a), 100.0 * pair.similarity));
  }
  add(out.findings, same, true, "prompts are there a second time");
  add(out.findings, nearly, false, "prompts are nearly the same, in different clusters");
}

TaskCheck check_task(const TaskSet& task, const CheckModel* model) {
  TaskCheck out;
  out.task = task.name;
  out.path = task.data_path;
  out.n_items = task.items.size();
  std::set<std::string_view> clusters;
  for (const TaskItem& item : task.items) clusters.insert(item.cluster);
  out.n_clusters = clusters.size();
  if (task.sha256.empty()) out.findings.push_back({false, "no sha256: a change of the data would go unnoticed"});
  if (task.license.empty()) out.findings.push_back({false, "no license of the data"});
  if (out.n_clusters < kFewClusters) {
    out.findings.push_back({false, fmt::format("{} clusters: intervals over so few say little", out.n_clusters)});
  }
  check_references(task, out);
  check_duplicates(task, out);
  if (model != nullptr) {
    check_prompts(task, *model, out);
    check_answers(task, *model, out);
  }
  return out;
}

std::vector<std::string> calibration_files(const std::string& folder) {
  std::vector<std::string> out;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error); !error && entry != fs::directory_iterator();
       entry.increment(error)) {
    if (entry->path().filename().string().ends_with(kCalibrationSuffix)) out.push_back(entry->path().string());
  }
  if (error) fail(ErrorCode::io, "{}: cannot read the folder: {}", folder, error.message());
  std::sort(out.begin(), out.end());
  return out;
}

// Items of the calibration files that are evaluated, by id or by prompt, or nearly.
class OverlapCheck {
 public:
  explicit OverlapCheck(const std::vector<TaskSet>& tasks) {
    for (const TaskSet& task : tasks) {
      for (const TaskItem& item : task.items) {
        const std::string name = fmt::format("{} {}", task.name, name_of(item));
        names_.push_back(name);
        texts_.push_back(user_text(item));
        prompts_.emplace(prompt_identity(item), name);
        ids_.emplace(task.name + '/' + item.id, name);
      }
    }
  }

  void check(const std::string& path, const std::vector<TaskItem>& items, std::vector<Finding>& findings) const {
    Examples both, nearly;
    std::vector<std::string> texts = texts_;
    // Ids are names within one task: "1" of another one is another item.
    std::string task = fs::path(path).filename().string();
    task.resize(task.size() - kCalibrationSuffix.size());
    for (const TaskItem& item : items) {
      const auto prompt = prompts_.find(prompt_identity(item));
      const auto id = ids_.find(task + '/' + item.id);
      if (prompt != prompts_.end() || id != ids_.end()) {
        both.add(fmt::format("{} as {}", name_of(item), prompt != prompts_.end() ? prompt->second : id->second));
      }
      texts.push_back(user_text(item));
    }
    for (const NearPair& pair : near_duplicates(texts, kNearlyTheSame)) {
      if (pair.first >= texts_.size() || pair.second < texts_.size()) continue;
      const TaskItem& item = items[pair.second - texts_.size()];
      if (prompts_.contains(prompt_identity(item))) continue;
      nearly.add(fmt::format("{} as {} ({:.0f} %)", name_of(item), names_[pair.first], 100.0 * pair.similarity));
    }
    add(findings, both, true, fmt::format("items of {} are also evaluated", path));
    add(findings, nearly, false, fmt::format("items of {} are nearly the same as evaluated ones", path));
  }

 private:
  std::vector<std::string> names_, texts_;
  std::unordered_map<std::string, std::string> prompts_, ids_;  // to names; ids as TASK/ID
};

}  // namespace

size_t FolderCheck::n_problems() const noexcept {
  const auto count = [](const std::vector<Finding>& list) {
    return static_cast<size_t>(std::count_if(list.begin(), list.end(), [](const Finding& f) { return f.is_problem; }));
  };
  size_t n = count(findings);
  for (const TaskCheck& t : tasks) n += count(t.findings);
  return n;
}

std::string prompt_identity(const TaskItem& item) {
  std::string text;
  for (const char32_t c : normalise(user_text(item))) append_utf8(text, c);
  return content_hash(text);
}

FolderCheck check_tasks(const std::string& folder, const CheckModel* model, const Task& progress) {
  const std::vector<TaskSet> tasks = read_tasks(folder);
  FolderCheck out;
  for (const TaskSet& task : tasks) {
    progress.check("check");
    out.tasks.push_back(check_task(task, model));
  }
  const OverlapCheck overlap(tasks);
  for (const std::string& path : calibration_files(folder)) {
    progress.check("check");
    const std::vector<TaskItem> items = read_calibration_items(path);
    overlap.check(path, items, out.findings);
    const std::string name = fs::path(path).filename().string();
    for (TaskCheck& task : out.tasks) {
      if (name == task.task + std::string(kCalibrationSuffix)) task.n_calibration = items.size();
    }
  }
  return out;
}

}  // namespace thimble
