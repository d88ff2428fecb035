// How many engines work on the items of a task.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/engine.h"

namespace thimble {

/// Engines of one model for run_task: several single-threaded ones that share their packed weights for a small model,
/// one with all threads for a large one. options.n_threads is what is to be used in all. Errors: as Engine::open.
std::vector<std::shared_ptr<const Engine>> open_task_engines(const std::string& path, const EngineOptions& options,
                                                             const Task& progress = {});

}  // namespace thimble
