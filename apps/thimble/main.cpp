// Entry point: global flags, Ctrl-C, and the one place where an Error becomes a message and an exit code.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <new>

#include "base/cpu.h"
#include "base/error.h"
#include "exit_codes.h"
#include "verbs.h"

namespace thimble::cli {

namespace {

CancelToken g_cancel;  // a signal handler can only reach a global

void on_interrupt(int signal_number) {
  g_cancel.cancel();
  // A second Ctrl-C ends the process the ordinary way, should the work not be looking.
  std::signal(signal_number, SIG_DFL);
}

// A mapped file that another process cuts short has no bytes behind its last pages: the processor reports that here and
// nowhere else. Nothing can be unwound from a signal handler, so the message is written raw and the process ends.
void on_bus_error(int) {
  constexpr char kMessage[] =
      "thimble: io: a mapped file cannot be read any more: it became shorter, or its disk failed, while it was in "
      "use\n";
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, kMessage, sizeof kMessage - 1);
  ::_exit(kExitIo);
}

int report(ErrorCode code, const char* message) {
  std::fprintf(stderr, "thimble: %s: %s\n", error_code_name(code), message);
  return exit_code(code);
}

int run(int argc, char** argv) {
  CLI::App app("Thimble: squeezes a language model onto a phone and proves that it still does its job.", "thimble");
  app.set_version_flag("--version", THIMBLE_VERSION);
  app.require_subcommand(1);
  app.fallthrough();
  app.footer(exit_code_help());

  Context context;
  context.cancel = &g_cancel;
  app.add_flag("--json", context.json, "print one JSON document for machines");
  CLI::Option* quiet = app.add_flag("-q,--quiet", context.quiet, "no progress, no warnings");
  app.add_flag("-v,--verbose", context.verbose, "say what is done and reused; twice: every decision")->excludes(quiet);
  app.add_option("-t,--threads", context.n_threads, "threads; 0: every usable processor")->check(CLI::Range(0, 1024));

  add_squeeze(app, context);
  add_convert(app, context);
  add_inspect(app, context);
  add_calibrate(app, context);
  add_quantize(app, context);
  add_eval(app, context);
  add_tasks(app, context);
  add_report(app, context);
  add_plan(app, context);
  add_pack(app, context);
  add_chat(app, context);
  add_bench(app, context);
  add_tokenize(app, context);

  try {
    app.parse(argc, argv);
    return context.exit_code;
  } catch (const CLI::Success& e) {
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    app.exit(e);
    return kExitUsage;
  } catch (const Error& e) {
    return report(e.code(), e.what());
  } catch (const std::bad_alloc&) {
    return report(ErrorCode::resource_exhausted, "out of memory");
  } catch (const std::exception& e) {
    return report(ErrorCode::internal, e.what());
  }
}

}  // namespace

}  // namespace thimble::cli

int main(int argc, char** argv) {
  std::signal(SIGINT, thimble::cli::on_interrupt);
  std::signal(SIGTERM, thimble::cli::on_interrupt);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGBUS, thimble::cli::on_bus_error);
  return thimble::cli::run(argc, argv);
}
