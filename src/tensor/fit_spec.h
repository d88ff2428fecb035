// What the scale search of each block-quantized type looks like, in numbers: one row per type, from which the levels of
// tensor/grid.h and the searches of every instruction set are made.
#pragma once

#include <cstddef>

#include "tensor/tensor_type.h"

namespace thimble {

enum class ScaleFamily {
  largest,     // d puts the largest element on the last code
  scale,       // d * level
  affine,      // d * code + m
  sub_affine,  // d * sub_scale * code - dmin * sub_min
  sub_scale    // d * sub_scale * level
};

/// Integers only: clang 14 takes no floats in template arguments.
struct FitSpec {
  TensorType type;
  ScaleFamily family;
  int elems;
  int subs;
  int low;  // first and last level; for the IQ4 types those of kIq4Values
  int high;
  bool iq4;
  int stored_low;  // range of sub-scales and mins
  int stored_high;
  int bias;    // added to sub-scales when stored
  int sigma2;  // in mean squares of the block, see favor_large_elements; 0: plain importance. ggml's values
};

inline constexpr FitSpec kFitSpecs[] = {
    {TensorType::q8_0, ScaleFamily::largest, 32, 1, -128, 127, false, 0, 0, 0, 0},
    {TensorType::q4_0, ScaleFamily::scale, 32, 1, -8, 7, false, 0, 0, 0, 1},
    {TensorType::q4_1, ScaleFamily::affine, 32, 1, 0, 15, false, 0, 0, 0, 1},
    {TensorType::q5_0, ScaleFamily::scale, 32, 1, -16, 15, false, 0, 0, 0, 1},
    {TensorType::q5_1, ScaleFamily::affine, 32, 1, 0, 31, false, 0, 0, 0, 1},
    {TensorType::q2_k, ScaleFamily::sub_affine, 256, 16, 0, 3, false, 0, 15, 0, 1},
    {TensorType::q3_k, ScaleFamily::sub_scale, 256, 16, -4, 3, false, -32, 31, 32, 2},
    {TensorType::q4_k, ScaleFamily::sub_affine, 256, 8, 0, 15, false, 0, 63, 0, 2},
    {TensorType::q5_k, ScaleFamily::sub_affine, 256, 8, 0, 31, false, 0, 63, 0, 2},
    {TensorType::q6_k, ScaleFamily::sub_scale, 256, 16, -32, 31, false, -128, 127, 0, 0},
    {TensorType::iq4_nl, ScaleFamily::scale, 32, 1, -127, 113, true, 0, 0, 0, 2},
    {TensorType::iq4_xs, ScaleFamily::sub_scale, 256, 8, -127, 113, true, -32, 31, 32, 2},
    {TensorType::i4_g64, ScaleFamily::affine, 64, 1, 0, 15, false, 0, 0, 0, 1},
    {TensorType::i4_g128, ScaleFamily::affine, 128, 1, 0, 15, false, 0, 0, 0, 1},
    {TensorType::i5_g64, ScaleFamily::affine, 64, 1, 0, 31, false, 0, 0, 0, 1},
    {TensorType::i5_g128, ScaleFamily::affine, 128, 1, 0, 31, false, 0, 0, 0, 1},
};
inline constexpr size_t kFitTypes = sizeof(kFitSpecs) / sizeof(kFitSpecs[0]);

}  // namespace thimble
