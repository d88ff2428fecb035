// Row operations in NEON without extensions: the algorithms of vector_rows.h and vector_attention.h.
#include "kernels/vector_kernel.h"
// The vocabularies come first: the other headers are written against them.
#include "kernels/simd_attention_neon.h"
#include "kernels/simd_float_neon.h"

#include "kernels/products_f64.h"
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
                                   scores_f16_block,
                                   scores_i8_block,
                                   soften_row,
                                   round_weights_row,
                                   mix_f16_block,
                                   mix_i8_block,
                                   add_scaled,
                                   add_products_rows};

}  // namespace thimble::kernels
