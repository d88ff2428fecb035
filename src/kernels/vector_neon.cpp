// Row operations in NEON without extensions: the algorithms of vector_rows.h and vector_attention.h.
#include "kernels/vector_kernel.h"
// The vocabularies come first: the other headers are written against them.
#include "kernels/simd_float_neon.h"
#include "kernels/simd_neon.h"

#include "kernels/vector_attention.h"
#include "kernels/vector_rows.h"

namespace thimble::kernels {

const VectorKernels kVectorNeon = {quantize_q8_block_rows,
                                   quantize_q8_super_rows,
                                   quantize_row,
                                   convert_to_f16,
                                   sum_squares,
                                   scale_rows,
                                   add_rows,
                                   silu_mul_rows,
                                   softmax_row,
                                   scores_f16_rows,
                                   scores_i8_rows,
                                   mix_rows<ValuesF16>,
                                   mix_rows<ValuesI8>};

}  // namespace thimble::kernels
