// Exit codes of the program; README.md holds the same table.
#pragma once

#include <string>

#include "base/error.h"

namespace thimble::cli {

constexpr int kExitOk = 0;
constexpr int kExitUsage = 2;  // unknown flag, missing argument, value out of range
constexpr int kExitNotFound = 3;
constexpr int kExitCorrupt = 4;
constexpr int kExitUnsupported = 5;
constexpr int kExitExhausted = 6;  // memory, disk or context limit
constexpr int kExitIo = 7;
constexpr int kExitDoesNotFit = 10;  // plan or squeeze: nothing fits the device
constexpr int kExitCannotTell = 11;  // squeeze, or a gate that must not: the items decide nothing
constexpr int kExitGateFailed = 12;  // eval --gate: worse than the baseline by more than the margin, with confidence
constexpr int kExitInternal = 70;
constexpr int kExitCancelled = 130;

int exit_code(ErrorCode code) noexcept;
std::string exit_code_help();

}  // namespace thimble::cli
