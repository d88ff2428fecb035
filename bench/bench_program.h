// The command line of a timing program: positional arguments that are checked before anything is timed, --help, errors
// in one line. Exit codes: 0 done, 2 a command line that cannot be understood, 1 any other error.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <limits>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "kernels/isa.h"

namespace thimble::bench {

/// [threads]
inline CLI::Option* add_threads(CLI::App& app, int& threads) {
  return app.add_option("threads", threads)->check(CLI::Range(1, 1024))->capture_default_str();
}

/// A whole number of at least 1.
template <typename Number>
CLI::Option* add_count(CLI::App& app, const std::string& name, Number& value) {
  return app.add_option(name, value)
      ->check(CLI::Range(Number{1}, std::numeric_limits<Number>::max(), "INT of at least 1"))
      ->capture_default_str();
}

/// [isa]: one that this machine has; stays empty where none is named.
inline CLI::Option* add_isa(CLI::App& app, std::string& name) {
  std::vector<std::string> names;
  for (const kernels::Isa isa : kernels::supported_isas(host_cpu())) names.emplace_back(kernels::isa_name(isa));
  return app.add_option("isa", name)->check(CLI::IsMember(names));
}

/// Parses, then calls `body`.
template <typename Body>
int run_program(CLI::App& app, int argc, char** argv, const Body& body) {
  try {
    app.parse(argc, argv);
    body();
    return 0;
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s: %s\n", app.get_name().c_str(), e.what());
    return 1;
  }
}

}  // namespace thimble::bench
