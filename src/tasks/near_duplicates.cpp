#include "tasks/near_duplicates.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <set>
#include <unordered_map>

#include "base/random.h"
#include "metrics/code_points.h"

namespace thimble {

namespace {

constexpr size_t kPiece = 5;            // code points
constexpr size_t kMaxPieces = 4 << 20;  // of all texts together; longer texts are sampled by hash
constexpr size_t kLeastPieces = 4;      // fewer say nothing
constexpr size_t kBands = 16;
constexpr size_t kRows = 4;        // hashes a band: found with 1 - (1 - 0.8^4)^16 = 0.9998
constexpr size_t kMaxBucket = 32;  // beyond it a text is compared with the latest of the bucket only

using Pieces = std::vector<uint64_t>;  // sorted, each once

Pieces pieces_of(const std::u32string& text, uint64_t sampling) {
  Pieces out;
  for (size_t at = 0; at + std::min(kPiece, text.size()) <= text.size() && !text.empty(); ++at) {
    uint64_t hash = 0;
    for (size_t k = at; k < std::min(at + kPiece, text.size()); ++k) hash = mix_bits(hash + text[k] + 1);
    if (hash % sampling == 0) out.push_back(hash);
    if (text.size() <= kPiece) break;
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

std::vector<Pieces> telling_pieces(std::span<const std::string> texts) {
  std::vector<std::u32string> normalised;
  size_t total = 0;
  for (const std::string& text : texts) total += normalised.emplace_back(normalise(text)).size();
  const uint64_t sampling = total / kMaxPieces + 1;
  std::vector<Pieces> out;
  std::unordered_map<uint64_t, uint32_t> in_texts;
  for (const std::u32string& text : normalised) {
    for (const uint64_t piece : out.emplace_back(pieces_of(text, sampling))) ++in_texts[piece];
  }
  const size_t common = std::max<size_t>(4, texts.size() / 10);
  for (Pieces& pieces : out) std::erase_if(pieces, [&](uint64_t piece) { return in_texts[piece] > common; });
  return out;
}

double jaccard(const Pieces& a, const Pieces& b) noexcept {
  size_t shared = 0;
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    shared += a[i] == b[j];
    const bool left = a[i] <= b[j], right = b[j] <= a[i];
    i += left, j += right;
  }
  return static_cast<double>(shared) / static_cast<double>(a.size() + b.size() - shared);
}

// Hash of the smallest hashes of the pieces under the functions of one band: equal for similar sets, with luck.
uint64_t band_hash(const Pieces& pieces, size_t band) noexcept {
  std::array<uint64_t, kRows> least;
  least.fill(std::numeric_limits<uint64_t>::max());
  for (const uint64_t piece : pieces) {
    for (size_t r = 0; r < kRows; ++r) least[r] = std::min(least[r], mix_bits(piece ^ mix_bits(band * kRows + r + 1)));
  }
  uint64_t hash = 0;
  for (const uint64_t h : least) hash = mix_bits(hash + h);
  return hash;
}

}  // namespace

std::vector<NearPair> near_duplicates(std::span<const std::string> texts, double least_similarity) {
  const std::vector<Pieces> pieces = telling_pieces(texts);
  std::set<std::pair<size_t, size_t>> seen;
  std::vector<NearPair> out;
  for (size_t band = 0; band < kBands; ++band) {
    std::unordered_map<uint64_t, std::vector<size_t>> buckets;
    for (size_t i = 0; i < texts.size(); ++i) {
      if (pieces[i].size() < kLeastPieces) continue;
      std::vector<size_t>& bucket = buckets[band_hash(pieces[i], band)];
      for (size_t b = bucket.size() - std::min(bucket.size(), kMaxBucket); b < bucket.size(); ++b) {
        if (!seen.insert({bucket[b], i}).second) continue;
        const double similarity = jaccard(pieces[bucket[b]], pieces[i]);
        if (similarity >= least_similarity) out.push_back({bucket[b], i, similarity});
      }
      bucket.push_back(i);
    }
  }
  std::sort(out.begin(), out.end(), [](const NearPair& a, const NearPair& b) {
    return std::pair(a.first, a.second) < std::pair(b.first, b.second);
  });
  return out;
}

}  // namespace thimble
