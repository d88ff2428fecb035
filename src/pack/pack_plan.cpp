#include "pack/pack_plan.h"

#include <algorithm>

#include "kernels/packed_layout.h"
#include "ops/ops.h"

namespace thimble {

namespace {

// Small enough to stay in a second-level cache or two while it is packed, hashed and written; large enough that
// waking threads and giving pages back cost nothing beside it.
constexpr size_t kChunkBytes = size_t{4} << 20;

}  // namespace

uint64_t PackPlan::bytes() const noexcept {
  uint64_t sum = 0;
  for (const PackItem& item : items) sum += item.bytes();
  return sum;
}

int widest_lanes(kernels::Isa isa) {
  int widest = 0;
  for (const TypeTraits& type : all_types()) widest = std::max(widest, ops::packed_lanes(type.type, isa));
  return widest;
}

PackPlan plan_packing(std::span<const NamedMatrix> matrices, kernels::Isa isa) {
  PackPlan plan;
  plan.lanes = widest_lanes(isa);
  for (const NamedMatrix& matrix : matrices) {
    const int lanes = ops::packed_lanes(matrix.view.type, isa);
    if (lanes > 0 && matrix.view.n_rows() >= lanes) plan.items.push_back({matrix.name, matrix.view, lanes});
  }
  return plan;
}

void for_each_chunk(const PackItem& item, FunctionRef<void(const PanelChunk&)> body) {
  const size_t panel = item.panel_bytes();
  const int64_t step = std::max<int64_t>(1, static_cast<int64_t>(kChunkBytes / std::max<size_t>(panel, 1)));
  const size_t row = item.view.row_bytes();
  for (int64_t begin = 0; begin < item.n_panels(); begin += step) {
    const int64_t end = std::min(begin + step, item.n_panels());
    const auto first = static_cast<size_t>(begin * item.lanes);
    const auto last = static_cast<size_t>(std::min(end * item.lanes, item.view.n_rows()));
    body({begin, end, item.view.data.subspan(first * row, (last - first) * row),
          static_cast<size_t>(end - begin) * panel});
  }
}

void pack_panels(const PackItem& item, int64_t begin, int64_t end, std::byte* out, ThreadPool& pool) noexcept {
  const size_t panel = item.panel_bytes();
  pool.parallel_for(end - begin, 1, [&](int64_t from, int64_t to) {
    for (int64_t p = begin + from; p < begin + to; ++p) {
      const int64_t row = p * item.lanes;
      const int64_t n_rows = std::min<int64_t>(item.lanes, item.view.n_rows() - row);
      kernels::pack_panel(item.view.type, item.lanes, item.view.row(row), item.view.row_bytes(), n_rows,
                          item.view.n_cols(), out + static_cast<size_t>(p - begin) * panel);
    }
  });
}

}  // namespace thimble
