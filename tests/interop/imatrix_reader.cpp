// Importance matrices between Thimble and stock llama.cpp's shared libraries. Usage: LIBRARIES_FOLDER IMATRIX.gguf
// SCRATCH.gguf
//   1. IMATRIX.gguf, written by thimble calibrate, read by stock's common_imatrix_load (libllama-common.so): the same
//      names, sums and counts as read_imatrix() gives.
//   2. SCRATCH.gguf, written by stock's gguf functions (libggml-base.so) with the keys and shapes of save_imatrix
//      (tools/imatrix/imatrix.cpp), read by read_imatrix().
// Exit status 1 and a message where they differ.
#include <dlfcn.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <map>
#include <new>
#include <string>
#include <vector>

#include "base/error.h"
#include "calibrate/imatrix.h"

namespace {

// common/imatrix-loader.h of v0.5.0 begins so; what follows in later versions has room.
struct StockEntry {
  std::vector<float> sums;
  std::vector<int64_t> counts;
  char later[256];
};

struct StockImatrix {
  std::map<std::string, StockEntry> entries;
  std::vector<std::string> datasets;
  int32_t chunk_count = 0;
  int32_t chunk_size = 0;
  bool is_legacy = false;
  bool has_metadata = false;
  char later[256] = {};
};

void* open_library(const std::string& path) {
  void* const library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr) thimble::fail(thimble::ErrorCode::io, "{}", ::dlerror());
  return library;
}

template <typename Function>
Function* find(void* library, const char* name) {
  void* const found = ::dlsym(library, name);
  if (found == nullptr) thimble::fail(thimble::ErrorCode::not_found, "{}", ::dlerror());
  return reinterpret_cast<Function*>(found);
}

void require(bool condition, const std::string& what) {
  if (!condition) thimble::fail(thimble::ErrorCode::internal, "differs: {}", what);
}

void stock_reads_ours(void* common, const std::string& path) {
  const auto load = find<bool(const std::string&, StockImatrix&)>(
      common, "_Z19common_imatrix_loadRKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEER14common_imatrix");
  // Never destroyed: nodes of the map are as large as stock made them.
  auto& stock = *new StockImatrix;
  require(load(path, stock), "stock does not load " + path);
  require(stock.has_metadata && !stock.is_legacy && stock.chunk_size > 0 && stock.chunk_count > 0, "metadata");
  const thimble::Calibration ours = thimble::read_imatrix(path);
  const thimble::Importance importance = ours.importance();
  require(stock.datasets == std::vector<std::string>{ours.info().data}, "datasets");
  require(stock.entries.size() == importance.size() && !importance.empty(), "number of entries");
  for (const auto& [name, entry] : stock.entries) {
    require(importance.count(name) == 1, name);
    const std::vector<float>& want = importance.at(name);
    require(entry.counts == std::vector<int64_t>{ours.find(name)->n_tokens}, name + " counts");
    require(entry.sums.size() == want.size(), name + " size");
    for (size_t i = 0; i < want.size(); ++i) {
      const float mean = entry.sums[i] / static_cast<float>(entry.counts[0]);
      require(std::abs(mean - want[i]) <= 1e-6f * want[i], name + " sums");
    }
  }
  std::printf("stock reads %zu entries\n", stock.entries.size());
}

struct GgmlParams {  // ggml_init_params
  size_t mem_size;
  void* mem_buffer;
  bool no_alloc;
};

void we_read_stock(void* ggml, const std::string& path) {
  void* const context = find<void*(GgmlParams)>(ggml, "ggml_init")({size_t{1} << 20, nullptr, false});
  void* const gguf = find<void*()>(ggml, "gguf_init_empty")();
  find<void(void*, const char*, const char*)>(ggml, "gguf_set_val_str")(gguf, "general.type", "imatrix");
  const char* datasets[] = {"a.txt", "b.txt"};
  find<void(void*, const char*, const char**, size_t)>(ggml, "gguf_set_arr_str")(gguf, "imatrix.datasets", datasets, 2);
  const auto set_u32 = find<void(void*, const char*, uint32_t)>(ggml, "gguf_set_val_u32");
  set_u32(gguf, "imatrix.chunk_count", 3);
  set_u32(gguf, "imatrix.chunk_size", 512);
  const auto add = [&](const char* name, int64_t ne0, int64_t ne1, const std::vector<float>& values) {
    constexpr int kF32 = 0;
    void* const tensor = find<void*(void*, int, int64_t, int64_t)>(ggml, "ggml_new_tensor_2d")(context, kF32, ne0, ne1);
    find<void*(void*, const char*)>(ggml, "ggml_set_name")(tensor, name);
    float* const data = find<float*(void*)>(ggml, "ggml_get_data_f32")(tensor);
    for (size_t i = 0; i < values.size(); ++i) data[i] = values[i];
    find<void(void*, void*)>(ggml, "gguf_add_tensor")(gguf, tensor);
  };
  add("blk.0.ffn_down.weight.in_sum2", 3, 1, {3, 6, 9});
  add("blk.0.ffn_down.weight.counts", 1, 1, {3});
  add("blk.0.ffn_up_exps.weight.in_sum2", 2, 2, {8, 4, 5, 5});
  add("blk.0.ffn_up_exps.weight.counts", 1, 2, {4, 0});
  require(find<bool(void*, const char*, bool)>(ggml, "gguf_write_to_file")(gguf, path.c_str(), false), "writing");
  const thimble::Calibration read = thimble::read_imatrix(path);
  const thimble::Importance importance = read.importance();
  require(importance.size() == 2, "number of entries");
  require(importance.at("blk.0.ffn_down.weight") == std::vector<float>{1, 2, 3}, "means");
  require(importance.at("blk.0.ffn_up_exps.weight") == std::vector<float>{2, 1, 1, 1}, "experts");
  require(read.find("blk.0.ffn_down.weight")->n_tokens == 3, "counts");
  require(read.info().data == "a.txt, b.txt" && read.info().n_context == 512, "metadata");
  std::printf("stock's file is read\n");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  try {
    const std::string folder = argv[1];
    void* const ggml = open_library(folder + "/libggml-base.so");
    stock_reads_ours(open_library(folder + "/libllama-common.so"), argv[2]);
    we_read_stock(ggml, argv[3]);
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
