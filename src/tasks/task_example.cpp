#include "tasks/task_example.h"

#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "tasks/score.h"
#include "tasks/task_write.h"

namespace thimble {

namespace {

namespace fs = std::filesystem;

Json example_comment() {
  Json lines = {
      "An example to change. This file says how a task is run and scored; the items are in the file that 'data' names.",
      ("Keys: 'task' its name; 'version' to be raised with every change; 'data' the items, beside this file; 'sha256' "
       "of them (sha256sum FILE; without the key nothing is compared); 'license' and 'source' of the data; 'comment' "
       "for people."),
      ("'system' is put before every item; with \"role\": \"user\" it opens the user's message, for models without "
       "system messages."),
      "'gen': at most 'max_tokens' tokens, ended before any text of 'stop'. Decoding is always greedy.",
      "'metrics': 'primary' decides between models, 'also' is reported.",
      ("'format' (needed by the metric format): min_chars, max_chars, lines (a number or \"items\"), min_lines, "
       "max_lines, max_line_chars, json (any, object, array), json_keys, forbid, not_end."),
      ("Items, one JSON object a line: 'id'; 'cluster', the same for items that are not independent (one customer, one "
       "document); 'messages', the last one the user's; 'refs', good answers; 'facts', each a list of alternatives; "
       "'items', what each line of the answer should be; 'meta', anything."),
  };
  for (const MetricRow& row : metric_table()) lines.push_back(fmt::format("Metric {}: {}.", row.name, row.meaning));
  return lines;
}

ImportedItem example_item(const char* id, const char* prompt, const char* reference, const char* comment) {
  ImportedItem out;
  out.item.id = id;
  out.item.cluster = id;
  out.item.messages = {{"user", prompt}};
  out.item.refs = {reference};
  out.meta["comment"] = comment;
  return out;
}

std::vector<ImportedItem> example_items() {
  std::vector<ImportedItem> out = {
      example_item("opening-hours",
                   "Customer: Hello, are you open on Sunday, and until when?\n"
                   "Shop: We open at ten and close at 4 p.m. on Sundays.\n\nSummarise in one sentence.",
                   "The shop is open on Sundays from 10 to 4.",
                   "Two facts; numbers count however they are written, other words need alternatives."),
      example_item(
          "late-parcel",
          "Customer: My parcel should have come on Monday.\nShop: I am sorry, the van broke down. You will have "
          "it on Thursday and we return the 1,200 won for delivery.\n\nSummarise in one sentence.",
          "The parcel comes on Thursday and 1200 won are paid back.",
          "'1,200' in an answer and '1200' here are the same number."),
      example_item("menu", "Translate into English, one dish per line:\n떡볶이\n비빔밥",
                   "Stir-fried rice cakes\nRice with vegetables",
                   "Here each line has references of its own: metrics items and items_exact compare line by line."),
  };
  out[0].item.facts = {{"Sunday", "Sundays"}, {"4"}};
  out[1].item.facts = {{"Thursday"}, {"1200"}};
  out[2].item.items = {{"떡볶이", {"Stir-fried rice cakes", "Tteokbokki"}},
                       {"비빔밥", {"Rice with vegetables", "Bibimbap"}}};
  return out;
}

}  // namespace

ExampleTask write_example_task(const std::string& folder, const std::string& name) {
  if (!is_task_name(name)) {
    fail(ErrorCode::invalid_argument, "--name: found '{}', expected letters, digits, '-', '_' and '.'", name);
  }
  const std::string stem = (fs::path(folder) / name).string();
  ExampleTask out{stem + ".task.json", stem + ".eval.jsonl"};
  std::error_code ignored;
  for (const std::string& path : {out.task_path, out.data_path}) {
    if (fs::exists(path, ignored)) {
      fail(ErrorCode::invalid_argument, "{}: is there already, expected a new name", path);
    }
  }
  TaskSet task;
  task.name = name;
  task.version = 1;
  task.license = "CC0-1.0";
  task.system = "Answer briefly.";
  task.max_tokens = 64;
  task.stop = {"\n\n"};
  task.data_path = out.data_path;
  task.primary = Metric::chrf2;
  task.metrics = {Metric::chrf2,  Metric::fact_recall,  Metric::items,       Metric::edit_similarity,
                  Metric::format, Metric::degeneration, Metric::length_ratio};
  task.format.max_lines = 2;
  task.format.max_chars = 200;
  const std::string data = items_text(example_items(), ItemUse::evaluation);
  make_folder(folder);
  write_file_atomically(out.data_path, data);
  write_file_atomically(out.task_path, task_text(task, data, example_comment()));
  return out;
}

}  // namespace thimble
