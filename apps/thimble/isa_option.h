// The flag --isa of verbs that can be told which instruction set to use.
#pragma once

#include <string>

#include "kernels/isa.h"

namespace thimble::cli {

/// Help text that names every instruction set.
std::string isa_option_help();

/// The instruction set called `name`; the best of this processor when it is empty. Errors: invalid_argument, naming
/// all.
kernels::Isa choose_isa(const std::string& name);

}  // namespace thimble::cli
