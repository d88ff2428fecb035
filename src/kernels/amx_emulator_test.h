// A software AMX unit: the tile instructions exactly as Intel's manual defines them (SDM volume 2, "LDTILECFG",
// "TILELOADD", "TILESTORED", "TDPBSSD/TDPBSUD/TDPBUSD/TDPBUUD"), with every condition under which they fault. Plain
// loops over plain bytes: the oracle of machines that have no AMX.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

namespace thimble::kernels {

enum class TileDot : uint8_t { uu, us, su, ss };  // signedness of the second operand (A), then of the third (B)

/// Every operation returns what faults, or an empty string.
class TileUnit {
 public:
  static constexpr int kTiles = 8;       // palette 1
  static constexpr size_t kRows = 16;    // of a tile, at most
  static constexpr size_t kBytes = 64;   // of a row, at most
  static constexpr size_t kConfig = 64;  // bytes of the configuration

  std::string load_config(const uint8_t* config) {
    if (config[0] > 1) return "LDTILECFG: palette is neither 0 nor 1";
    if (config[0] == 0) return release();
    for (size_t i = 1; i < kConfig; ++i) {
      const bool shape = (i >= 16 && i < 32) || (i >= 48 && i < 56);
      if (!shape && config[i] != 0) return "LDTILECFG: reserved byte " + std::to_string(i) + " is not zero";
    }
    for (size_t t = 0; t < kTiles; ++t) {
      const size_t row_bytes = config[16 + 2 * t] + 256u * config[17 + 2 * t];
      const size_t rows = config[48 + t];
      if (row_bytes > kBytes || rows > kRows) return "LDTILECFG: a tile is larger than 16 rows of 64 bytes";
      if ((row_bytes == 0) != (rows == 0)) return "LDTILECFG: a tile has rows without columns or the reverse";
      tiles_[t] = {rows, row_bytes, {}};
    }
    configured_ = true;
    return "";
  }

  std::string release() {
    tiles_ = {};
    configured_ = false;
    return "";
  }

  std::string zero(int tile) {
    if (!usable(tile)) return "TILEZERO: the tile is not configured";
    at(tile).data = {};
    return "";
  }

  std::string load(int tile, const uint8_t* from, int64_t stride) {
    if (!usable(tile)) return "TILELOADD: the tile is not configured";
    Tile& t = at(tile);
    t.data = {};
    for (size_t r = 0; r < t.rows; ++r) {
      std::memcpy(t.data[r].data(), from + static_cast<int64_t>(r) * stride, t.row_bytes);
    }
    return "";
  }

  std::string store(int tile, uint8_t* to, int64_t stride) const {
    if (!usable(tile)) return "TILESTORED: the tile is not configured";
    const Tile& t = tiles_[static_cast<size_t>(tile)];
    for (size_t r = 0; r < t.rows; ++r) {
      std::memcpy(to + static_cast<int64_t>(r) * stride, t.data[r].data(), t.row_bytes);
    }
    return "";
  }

  /// c += a * b: c[m][n] += sum over k, i of a[m][4 k + i] * b[k][4 n + i], modulo 2^32.
  std::string dot(TileDot kind, int c_tile, int a_tile, int b_tile) {
    if (c_tile == a_tile || c_tile == b_tile || a_tile == b_tile) return "TDP: two operands are the same tile";
    if (!usable(c_tile) || !usable(a_tile) || !usable(b_tile)) return "TDP: a tile is not configured";
    Tile& c = at(c_tile);
    const Tile& a = at(a_tile);
    const Tile& b = at(b_tile);
    if (c.row_bytes % 4 != 0 || a.row_bytes % 4 != 0 || b.row_bytes % 4 != 0) return "TDP: columns are no dwords";
    if (a.rows != c.rows) return "TDP: A and C differ in rows";
    if (a.row_bytes / 4 != b.rows) return "TDP: columns of A are not the rows of B";
    if (c.row_bytes != b.row_bytes) return "TDP: B and C differ in columns";
    const bool a_signed = kind == TileDot::ss || kind == TileDot::su;
    const bool b_signed = kind == TileDot::ss || kind == TileDot::us;
    for (size_t m = 0; m < c.rows; ++m) {
      for (size_t n = 0; n < c.row_bytes / 4; ++n) {
        uint32_t sum = 0;
        std::memcpy(&sum, &c.data[m][4 * n], 4);
        for (size_t k = 0; k < a.row_bytes; ++k) {
          sum += static_cast<uint32_t>(value(a.data[m][k], a_signed) * value(b.data[k / 4][4 * n + k % 4], b_signed));
        }
        std::memcpy(&c.data[m][4 * n], &sum, 4);
      }
    }
    ++n_dots_;
    return "";
  }

  bool configured() const { return configured_; }
  int64_t n_dots() const { return n_dots_; }

 private:
  struct Tile {
    size_t rows = 0;
    size_t row_bytes = 0;
    std::array<std::array<uint8_t, kBytes>, kRows> data{};
  };

  static int value(uint8_t byte, bool is_signed) { return is_signed ? static_cast<int8_t>(byte) : byte; }
  Tile& at(int tile) { return tiles_[static_cast<size_t>(tile)]; }
  bool usable(int tile) const {
    return configured_ && tile >= 0 && tile < kTiles && tiles_[static_cast<size_t>(tile)].rows > 0;
  }

  std::array<Tile, kTiles> tiles_{};
  bool configured_ = false;
  int64_t n_dots_ = 0;
};

}  // namespace thimble::kernels
