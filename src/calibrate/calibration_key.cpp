// Which model a calibration belongs to. Not pack/model_identity.h: that one counts metadata and file stamps, and a copy
// of a model with another chat template has the same activations.
#include <algorithm>

#include "base/hash.h"
#include "calibrate/calibration.h"

namespace thimble {

namespace {

constexpr size_t kSampleBytes = 4096;

template <typename T>
void add_number(ContentHasher& hasher, T value) {
  hasher.update(std::as_bytes(std::span(&value, 1)));
}

}  // namespace

std::string calibration_model_key(const GgufFile& model) {
  ContentHasher hasher;
  for (const GgufTensor& tensor : model.tensors()) {
    add_number(hasher, uint64_t{tensor.name.size()});
    hasher.update(tensor.name);
    add_number(hasher, static_cast<uint32_t>(tensor.view.type));
    for (const int64_t n : tensor.view.ne) add_number(hasher, n);
    // Fine-tunes share names and shapes with their base, and differ in nearly every weight.
    const std::span<const std::byte> data = tensor.view.data;
    const size_t size = std::min(kSampleBytes, data.size());
    const std::span<const std::byte> sample = data.subspan((data.size() - size) / 2, size);
    hasher.update(sample);
    model.release(sample);
  }
  return hasher.hash();
}

}  // namespace thimble
