#include "exit_codes.h"

namespace thimble::cli {

int exit_code(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::invalid_argument:
      return kExitUsage;
    case ErrorCode::not_found:
      return kExitNotFound;
    case ErrorCode::corrupt:
      return kExitCorrupt;
    case ErrorCode::unsupported:
      return kExitUnsupported;
    case ErrorCode::resource_exhausted:
      return kExitExhausted;
    case ErrorCode::io:
      return kExitIo;
    case ErrorCode::cancelled:
      return kExitCancelled;
    case ErrorCode::internal:
      return kExitInternal;
  }
  return kExitInternal;
}

std::string exit_code_help() {
  return "Exit codes: 0 done, 2 usage or invalid argument, 3 not found, 4 corrupt input, 5 unsupported input,\n"
         "6 memory, disk or context exhausted, 7 input/output error, 10 nothing fits the device,\n"
         "11 the evaluation cannot tell (squeeze: the smaller candidate was taken), 12 the gate failed,\n"
         "70 internal error, 130 cancelled.";
}

}  // namespace thimble::cli
