// A small task that explains itself: what `thimble tasks new` writes for people to change.
#pragma once

#include <string>

namespace thimble {

struct ExampleTask {
  std::string task_path, data_path;
};

/// Writes NAME.task.json and NAME.eval.jsonl into `folder`, which is made when it does not exist. The task passes
/// check_tasks() without problems. Errors: invalid_argument (name; files that exist), io.
ExampleTask write_example_task(const std::string& folder, const std::string& name);

}  // namespace thimble
