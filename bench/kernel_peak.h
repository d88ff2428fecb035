// What one core can do at most with the multiply instruction of an instruction set: chains in registers, no memory.
#pragma once

#include "kernels/isa.h"

namespace thimble::bench {

/// 1e9 operations per second of one thread (a multiply-add of two elements is two); 0 where it is not measured.
/// floats: fused multiply-adds instead of byte products.
double peak_gops(kernels::Isa isa, bool floats);

}  // namespace thimble::bench
