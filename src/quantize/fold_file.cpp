// Streams a model through its folds.
#include "quantize/fold_file.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/error.h"
#include "format/gguf_writer.h"

namespace thimble {

namespace {

constexpr int64_t kFoldPieceElements = int64_t{1} << 20;

/// Decodes, folds, encodes; rows of a vector are its elements.
void write_folded_tensor(const GgufFile& input, const GgufTensor& tensor, const TensorScales& scales,
                         GgufWriter* writer) {
  const TypeTraits& type = traits(tensor.view.type);
  if (type.is_quantized || type.encode == nullptr) {
    fail(ErrorCode::invalid_argument, "{}: tensor {}: found type {}, expected floats to fold", input.source(),
         tensor.name, type.name);
  }
  const bool vector = tensor.n_dims == 1;
  const int64_t n_in = vector ? 1 : tensor.view.ne[0];
  const int64_t n_rows = vector ? tensor.view.ne[0] : tensor.view.n_rows();
  const int64_t rows_at_once = std::max<int64_t>(1, kFoldPieceElements / std::max<int64_t>(n_in, 1));
  const size_t row_bytes = static_cast<size_t>(n_in) * type.block_bytes;
  std::vector<float> values;
  std::vector<std::byte> bytes;
  for (int64_t row = 0; row < n_rows; row += rows_at_once) {
    const int64_t count = std::min(rows_at_once, n_rows - row);
    values.resize(static_cast<size_t>(count * n_in));
    bytes.resize(static_cast<size_t>(count) * row_bytes);
    type.decode(tensor.view.data.data() + static_cast<size_t>(row) * row_bytes, values.data(), count * n_in);
    apply_fold(scales, values.data(), row, count, n_in);
    type.encode(values.data(), nullptr, bytes.data(), count * n_in);
    type.decode(bytes.data(), values.data(), count * n_in);
    if (!std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); })) {
      fail(ErrorCode::unsupported, "{}: tensor {}: folded weights are outside the range of {}", input.source(),
           tensor.name, type.name);
    }
    writer->write(bytes);
  }
}

}  // namespace

void write_folded(const GgufFile& input, const FoldPlan& plan, const std::string& output_path, const Task& task) {
  check_plan(plan, input);
  std::error_code ignored;
  for (const std::string& path : input.paths()) {
    if (!std::filesystem::equivalent(path, output_path, ignored)) continue;
    fail(ErrorCode::invalid_argument, "{}: the output is the input {}, expected another file name", output_path, path);
  }
  GgufMetadata metadata;
  for (const GgufKeyValue& value : input.metadata()) metadata.set(value);
  std::vector<GgufTensorPlan> tensors;
  for (const GgufTensor& tensor : input.tensors()) {
    tensors.push_back({std::string(tensor.name), tensor.view.type, tensor.n_dims, tensor.view.ne});
  }
  GgufWriter writer(output_path, metadata, tensors);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const GgufTensor& tensor = input.tensors()[i];
    task.report(i, tensors.size(), tensor.name);
    task.check(output_path);
    if (const TensorScales* scales = find_scales(plan, tensor.name)) {
      write_folded_tensor(input, tensor, *scales, &writer);
    } else {
      writer.write(tensor.view.data);
    }
    input.release(tensor.view.data);
  }
  writer.commit();
}

}  // namespace thimble
