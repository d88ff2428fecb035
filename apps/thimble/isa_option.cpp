#include "isa_option.h"

#include <fmt/format.h>

#include "base/cpu.h"
#include "base/error.h"

namespace thimble::cli {

namespace {

std::string isa_names() {
  std::string names;
  for (const kernels::Isa isa : kernels::all_isas()) {
    names += fmt::format("{}{}", names.empty() ? "" : ", ", kernels::isa_name(isa));
  }
  return names;
}

}  // namespace

std::string isa_option_help() {
  return fmt::format("another instruction set than the best of this processor: {}", isa_names());
}

kernels::Isa choose_isa(const std::string& name) {
  if (name.empty()) return kernels::best_isa(host_cpu());
  if (const std::optional<kernels::Isa> isa = kernels::isa_from_name(name)) return *isa;
  fail(ErrorCode::invalid_argument, "--isa: found \"{}\", expected one of {}", name, isa_names());
}

}  // namespace thimble::cli
