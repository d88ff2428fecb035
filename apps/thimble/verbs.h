// The verbs of the command line. Each adds its sub-command with flags; its callback does the work and throws Error.
#pragma once

#include <CLI/CLI.hpp>

#include <memory>

#include "base/progress.h"
#include "base/thread_pool.h"

namespace thimble::cli {

/// What all verbs share, filled from the global flags before a verb runs.
struct Context {
  bool json = false;              // --json: one JSON document on standard output, nothing else
  bool quiet = false;             // --quiet: no progress, no warnings
  int verbose = 0;                // -v: steps; -vv: every decision
  int n_threads = 0;              // --threads; 0: every usable processor
  CancelToken* cancel = nullptr;  // set by Ctrl-C
  int exit_code = 0;              // a verb may set one of the documented codes without an error

  /// Progress bar on a terminal, a line every few seconds in a pipe, and log lines, all on standard error; with
  /// cancellation.
  Task task() const;
  int threads() const noexcept;
};

void add_convert(CLI::App& app, Context& context);
void add_inspect(CLI::App& app, Context& context);
void add_calibrate(CLI::App& app, Context& context);
void add_quantize(CLI::App& app, Context& context);
void add_eval(CLI::App& app, Context& context);
void add_plan(CLI::App& app, Context& context);
void add_squeeze(CLI::App& app, Context& context);
void add_chat(CLI::App& app, Context& context);
void add_bench(CLI::App& app, Context& context);
void add_pack(CLI::App& app, Context& context);
void add_tokenize(CLI::App& app, Context& context);
void add_tasks(CLI::App& app, Context& context);
void add_report(CLI::App& app, Context& context);

}  // namespace thimble::cli
