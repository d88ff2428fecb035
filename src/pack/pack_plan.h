// Which weights of a model are packed and how, and the packing itself: panels of rows in parallel, a few megabytes at a
// time.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/function_ref.h"
#include "base/thread_pool.h"
#include "format/gguf.h"
#include "kernels/isa.h"
#include "tensor/tensor_view.h"

namespace thimble {

/// A matrix [n_out, n_in] that a model multiplies by, with the name of its tensor.
struct NamedMatrix {
  std::string name;
  TensorView view;
};

/// A matrix to pack: panels of `lanes` rows (kernels/packed_layout.h).
struct PackItem {
  std::string name;
  TensorView view;
  int lanes = 0;

  int64_t n_panels() const noexcept { return (view.n_rows() + lanes - 1) / lanes; }
  size_t panel_bytes() const noexcept { return static_cast<size_t>(lanes) * view.row_bytes(); }
  uint64_t bytes() const noexcept { return static_cast<uint64_t>(n_panels()) * panel_bytes(); }
};

struct PackPlan {
  std::vector<PackItem> items;
  int lanes = 0;  // the widest panels of this instruction set: part of a sidecar's name

  uint64_t bytes() const noexcept;
};

/// Rows of the widest panels that kernels of `isa` read, or 0 when none reads panels.
int widest_lanes(kernels::Isa isa);

/// Those of `matrices` whose kernels for `isa` read panels. Matrices with fewer rows than a panel stay as they are:
/// they would grow, up to `lanes` times.
PackPlan plan_packing(std::span<const NamedMatrix> matrices, kernels::Isa isa);

/// A piece of a matrix: panels [begin, end) and the rows they are made from.
struct PanelChunk {
  int64_t begin, end;
  std::span<const std::byte> source;
  size_t packed_bytes;
};

/// Calls body for pieces of about 4 MB that make up the whole item, in order.
void for_each_chunk(const PackItem& item, FunctionRef<void(const PanelChunk&)> body);

/// Packs panels [begin, end) of `item` to `out` [(end - begin) * panel_bytes()].
void pack_panels(const PackItem& item, int64_t begin, int64_t end, std::byte* out, ThreadPool& pool) noexcept;

}  // namespace thimble
