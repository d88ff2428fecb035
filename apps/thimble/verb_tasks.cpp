// thimble tasks: make, import and check the tasks that models are measured by.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <memory>

#include "base/error.h"
#include "base/json.h"
#include "base/utf8.h"
#include "model/model_config.h"
#include "standard_output.h"
#include "tasks/score.h"
#include "tasks/task_check.h"
#include "tasks/task_example.h"
#include "tasks/task_import.h"
#include "verbs.h"

namespace thimble::cli {

namespace {

void print_json(const Json& json) {
  print_checked([&] { fmt::print("{}\n", json.dump(2, ' ', false, Json::error_handler_t::replace)); });
}

// ---- new

struct NewArguments {
  std::string folder;
  std::string name = "example";
};

void run_new(const NewArguments& a, const Context& context) {
  const ExampleTask written = write_example_task(a.folder, a.name);
  if (context.json) {
    print_json({{"task", written.task_path}, {"data", written.data_path}});
    return;
  }
  print_checked([&] {
    fmt::print("wrote {} and {}\n", printable(written.task_path, 1000), printable(written.data_path, 1000));
    fmt::print("next: change them, then thimble tasks check {}\n", printable(a.folder, 1000));
  });
}

void add_new(CLI::App& tasks, Context& context) {
  CLI::App* verb = tasks.add_subcommand("new", "Write a commented example of a task");
  auto a = std::make_shared<NewArguments>();
  verb->fallthrough();
  verb->add_option("folder", a->folder, "folder of tasks; made when missing")->required();
  verb->add_option("--name", a->name, "name of the task (default: example)");
  verb->callback([a, &context] { run_new(*a, context); });
}

// ---- import

struct ImportArguments {
  std::string file, folder;
  std::vector<std::string> metrics;
  ImportSettings settings;
};

void run_import(ImportArguments& a, const Context& context) {
  for (const std::string& name : a.metrics) {
    const MetricRow* row = find_metric(name);
    if (row == nullptr) {
      fail(ErrorCode::invalid_argument, "--metric: found '{}', expected one of {}", printable(name), metric_names());
    }
    if (std::find(a.settings.metrics.begin(), a.settings.metrics.end(), row->metric) == a.settings.metrics.end()) {
      a.settings.metrics.push_back(row->metric);
    }
  }
  const ImportedTask r = import_task(a.file, a.folder, a.settings);
  if (context.json) {
    Json out = {{"task", r.task_path}, {"data", r.data_path},      {"calibration", nullptr},
                {"items", r.n_items},  {"clusters", r.n_clusters}, {"calibration_items", r.n_calibration},
                {"notes", r.notes}};
    if (!r.calibration_path.empty()) out["calibration"] = r.calibration_path;
    print_json(out);
    return;
  }
  print_checked([&] {
    fmt::print("wrote {}\n", printable(r.task_path, 1000));
    fmt::print("wrote {}: {} items in {} clusters\n", printable(r.data_path, 1000), r.n_items, r.n_clusters);
    if (!r.calibration_path.empty()) {
      fmt::print("wrote {}: {} items\n", printable(r.calibration_path, 1000), r.n_calibration);
    }
    for (const std::string& note : r.notes) fmt::print("note: {}\n", note);
    fmt::print("next: thimble tasks check {} --model MODEL.gguf\n", printable(a.folder, 1000));
  });
}

void add_import(CLI::App& tasks, Context& context) {
  CLI::App* verb = tasks.add_subcommand("import", "Make a task of a CSV file or of OpenAI evals' JSONL (input, ideal)");
  auto a = std::make_shared<ImportArguments>();
  verb->fallthrough();
  verb->add_option("file", a->file, "FILE.csv, .tsv (columns prompt, reference, id, cluster, ...) or .jsonl")
      ->required();
  verb->add_option("-o,--output", a->folder, "folder of tasks; made when missing")->required();
  verb->add_option("--name", a->settings.name, "name of the task")->required();
  verb->add_option("--metric", a->metrics, "a metric; the first one given is primary (default: chrf2 and others)");
  verb->add_option("--max-tokens", a->settings.max_tokens, "limit of an answer (default: by the longest reference)")
      ->check(CLI::Range(int64_t{1}, int64_t{65536}));
  verb->add_option("--system", a->settings.system, "system prompt of the task");
  verb->add_option("--license", a->settings.license, "license of the data");
  verb->add_option("--calibration", a->settings.calibration,
                   "share of the clusters (0 to below 1) that becomes calibration data instead of being evaluated");
  verb->add_flag("--force", a->settings.replace, "replace files of that name");
  verb->callback([a, &context] { run_import(*a, context); });
}

// ---- check

struct CheckArguments {
  std::string folder, model, chat_template;
  int64_t n_ctx = 0;
};

FolderCheck check(const CheckArguments& a, const Context& context) {
  if (a.model.empty()) return check_tasks(a.folder, nullptr, context.task());
  const GgufFile gguf = GgufFile::open(a.model);
  const Tokenizer tokenizer(gguf);
  CheckModel model;
  model.tokenizer = &tokenizer;
  model.chat_template = a.chat_template.empty() ? detect_chat_template(gguf) : chat_template_from_name(a.chat_template);
  model.n_ctx = read_model_config(gguf).n_ctx_train;
  if (a.n_ctx > model.n_ctx) {
    fail(ErrorCode::invalid_argument, "--context {}: the model was trained for {} tokens, expected at most that",
         a.n_ctx, model.n_ctx);
  }
  if (a.n_ctx > 0) model.n_ctx = a.n_ctx;
  return check_tasks(a.folder, &model, context.task());
}

Json findings_json(const std::vector<Finding>& findings) {
  Json out = Json::array();
  for (const Finding& f : findings) out.push_back({{"kind", f.is_problem ? "problem" : "warning"}, {"text", f.text}});
  return out;
}

Json lengths_json(const std::optional<TokenLengths>& l) {
  return l ? Json{{"least", l->least}, {"median", l->median}, {"most", l->most}} : Json(nullptr);
}

void print_json(const FolderCheck& r) {
  Json tasks = Json::array();
  for (const TaskCheck& t : r.tasks) {
    tasks.push_back({{"task", t.task},
                     {"data", t.path},
                     {"items", t.n_items},
                     {"clusters", t.n_clusters},
                     {"calibration_items", t.n_calibration},
                     {"prompt_tokens", lengths_json(t.prompts)},
                     {"reference_tokens", lengths_json(t.answers)},
                     {"findings", findings_json(t.findings)}});
  }
  print_json(Json{{"tasks", tasks}, {"findings", findings_json(r.findings)}, {"ok", r.n_problems() == 0}});
}

std::string lengths_text(const std::optional<TokenLengths>& l) {
  return l ? fmt::format("{} / {} / {}", l->least, l->median, l->most) : "-";
}

void print_findings(std::string_view where, const std::vector<Finding>& findings) {
  for (const Finding& f : findings) {
    fmt::print("{}: {}{}{}\n", f.is_problem ? "problem" : "warning", where, where.empty() ? "" : ": ", f.text);
  }
}

void print_text(const FolderCheck& r) {
  fmt::print("{:<20} {:>6} {:>9} {:>12} {:>22} {:>22}\n", "task", "items", "clusters", "calibration", "prompt tokens",
             "reference tokens");
  for (const TaskCheck& t : r.tasks) {
    fmt::print("{:<20} {:>6} {:>9} {:>12} {:>22} {:>22}\n", printable(t.task), t.n_items, t.n_clusters, t.n_calibration,
               lengths_text(t.prompts), lengths_text(t.answers));
  }
  if (r.tasks.front().prompts) fmt::print("tokens: shortest / median / longest\n");
  for (const TaskCheck& t : r.tasks) print_findings(printable(t.task), t.findings);
  print_findings("", r.findings);
  if (r.n_problems() == 0) fmt::print("no problems\n");
}

void run_check(const CheckArguments& a, const Context& context) {
  if (a.model.empty() && (a.n_ctx > 0 || !a.chat_template.empty())) {
    fail(ErrorCode::invalid_argument, "tasks check: --context and --template need --model");
  }
  const FolderCheck r = check(a, context);
  context.json ? print_json(r) : print_checked([&] { print_text(r); });
  if (const size_t n = r.n_problems(); n > 0) {
    fail(ErrorCode::corrupt, "{}: found {} {}, expected none", a.folder, n, n == 1 ? "problem" : "problems");
  }
}

void add_check(CLI::App& tasks, Context& context) {
  CLI::App* verb = tasks.add_subcommand(
      "check",
      "Validate a folder of tasks: files, lengths in tokens, what would be cut, repeated items; exit code 4 for "
      "problems");
  auto a = std::make_shared<CheckArguments>();
  verb->fallthrough();
  verb->add_option("folder", a->folder, "folder with NAME.task.json and their data")->required();
  verb->add_option("--model", a->model, "GGUF file whose tokenizer and chat template count tokens");
  verb->add_option("-c,--context", a->n_ctx, "tokens of the context (default: what the model was trained for)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24));
  verb->add_option("--template", a->chat_template, "chat template, when the model's own is missing or not known");
  verb->callback([a, &context] { run_check(*a, context); });
}

}  // namespace

void add_tasks(CLI::App& app, Context& context) {
  CLI::App* verb = app.add_subcommand("tasks", "Make, import and check tasks");
  verb->fallthrough();
  verb->require_subcommand(1);
  add_new(*verb, context);
  add_import(*verb, context);
  add_check(*verb, context);
}

}  // namespace thimble::cli
