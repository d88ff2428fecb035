// Conducts a conversion: reads the folder, plans metadata and tensors, then streams the data.
#include "convert/convert.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>

#include "base/error.h"
#include "convert/hf_folder.h"
#include "convert/packed_int4.h"
#include "convert/tensor_plan.h"
#include "convert/tensor_stream.h"
#include "convert/vocabulary.h"
#include "format/gguf_writer.h"

namespace thimble {

namespace {

namespace fs = std::filesystem;

constexpr uint32_t kThimbleKeysVersion = 1;  // of the keys thimble.*, docs/FORMAT.md

// llama_ftype of llama.h; the number that says which type most matrices have.
uint32_t file_type(TensorType type) noexcept {
  switch (type) {
    case TensorType::f32:
      return 0;
    case TensorType::bf16:
      return 32;
    case TensorType::q4_0:
      return 2;
    case TensorType::q4_1:
      return 3;
    case TensorType::q8_0:
      return 7;
    case TensorType::q5_0:
      return 8;
    case TensorType::i4_g64:
    case TensorType::i4_g128:
      return 1024;  // LLAMA_FTYPE_GUESSED: no number of its own
    default:
      return 1;
  }
}

// Errors: invalid_argument for types that no matrix of this folder can become.
void check_type(const HfFolder& folder, std::optional<TensorType> type) {
  if (!type || is_float(*type)) return;
  if (!folder.config.quantization) {
    fail(ErrorCode::invalid_argument, "convert: output type {}, expected f16, bf16 or f32", traits(*type).name);
  }
  if (!can_hold_packed(*type)) {
    fail(ErrorCode::invalid_argument,
         "convert: output type {}, expected q4_0, q4_1, q5_0, q8_0, i4_g64, i4_g128, f16, bf16 or f32 for packed "
         "weights",
         traits(*type).name);
  }
}

void write_hyperparameters(const HfConfig& config, const std::string& architecture, GgufMetadata& metadata) {
  const auto set = [&](std::string_view key, int64_t value) {
    metadata.set_uint32(fmt::format("{}.{}", architecture, key), static_cast<uint32_t>(value));
  };
  const auto set_real = [&](std::string_view key, double value) {
    metadata.set_float32(fmt::format("{}.{}", architecture, key), static_cast<float>(value));
  };
  set("context_length", config.n_ctx);
  set("embedding_length", config.n_embd);
  set("block_count", config.n_layer);
  set("feed_forward_length", config.n_ff);
  set("attention.head_count", config.n_head);
  set("attention.head_count_kv", config.n_head_kv);
  if (config.head_dim * config.n_head != config.n_embd) {
    set("attention.key_length", config.head_dim);
    set("attention.value_length", config.head_dim);
  }
  set("rope.dimension_count", config.head_dim);
  set_real("rope.freq_base", config.rope_theta);
  if (config.rope_scaling.type == HfRopeType::linear) {
    metadata.set_string(architecture + ".rope.scaling.type", "linear");
    set_real("rope.scaling.factor", config.rope_scaling.factor);
  }
  set_real("attention.layer_norm_rms_epsilon", config.rms_eps);
  if (config.sliding_window > 0) set("attention.sliding_window", config.sliding_window);
  set("vocab_size", config.n_vocab);
}

GgufMetadata build_metadata(const HfFolder& folder) {
  const std::string architecture = gguf_architecture(folder.config);
  GgufMetadata metadata;
  metadata.set_string("general.architecture", architecture);
  metadata.set_string("general.type", "model");
  metadata.set_string("general.name", folder.name);
  write_hyperparameters(folder.config, architecture, metadata);
  metadata.set_uint32("general.quantization_version", 2);
  write_vocabulary(read_vocabulary(folder), metadata);
  return metadata;
}

// Replacing a file of the folder would lose the original.
void check_output(const HfFolder& folder, const std::string& output_path) {
  std::vector<std::string> inputs = folder.weights.paths();
  for (const char* name :
       {"config.json", "generation_config.json", "tokenizer.model", "tokenizer.json", "tokenizer_config.json",
        "added_tokens.json", "chat_template.jinja", "model.safetensors.index.json"}) {
    inputs.push_back((fs::path(folder.path) / name).string());
  }
  for (const std::string& input : inputs) {
    std::error_code ignored;
    if (fs::equivalent(input, output_path, ignored)) {
      fail(ErrorCode::invalid_argument, "{}: is one of the files being converted, expected another output",
           output_path);
    }
  }
}

// The type of most packed matrices, or `type` when there are none.
TensorType main_type(const std::vector<TensorJob>& jobs, TensorType type) {
  std::map<TensorType, int64_t> elements;
  for (const TensorJob& job : jobs) {
    if (job.packed) elements[job.plan.type] += job.packed->n_out * job.packed->n_in;
  }
  const auto most = std::max_element(elements.begin(), elements.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == elements.end() ? type : most->first;
}

// What was imported and how exactly: the result, the file and the log say the same.
void note_imports(const HfFolder& folder, const std::vector<TensorJob>& jobs, const Task& task, ConvertResult& result,
                  GgufMetadata& metadata) {
  double largest = 0.0, in_steps = 0.0;
  for (const TensorJob& job : jobs) {
    if (!job.packed) continue;
    result.imported.push_back({job.plan.name, job.plan.type, job.fit.largest, job.fit.in_steps});
    largest = std::max(largest, job.fit.largest);
    in_steps = std::max(in_steps, job.fit.in_steps);
    task.say(LogLevel::debug, "{}: {} as {}, {}", job.packed->module, job.plan.name, traits(job.plan.type).name,
             job.fit.exact() ? "exact"
                             : fmt::format("weights change by at most {:.3g}, {:.3g} of a step", job.fit.largest,
                                           job.fit.in_steps));
  }
  if (result.imported.empty()) return;
  result.packing = hf_packing_name(folder.config.quantization->packing);
  metadata.set_uint32("thimble.version", kThimbleKeysVersion);
  const bool own_types = std::any_of(result.imported.begin(), result.imported.end(), [](const ImportedTensor& tensor) {
    return tensor.type == TensorType::i4_g64 || tensor.type == TensorType::i4_g128;
  });
  if (own_types) metadata.set_strings("thimble.features", std::array<std::string, 1>{"group_types"});
  metadata.set_string("thimble.import", result.packing);
  metadata.set_int32("thimble.import.group_size", static_cast<int32_t>(folder.config.quantization->group_size));
  metadata.set_float32("thimble.import.largest_change", static_cast<float>(largest));
  metadata.set_float32("thimble.import.change_in_steps", static_cast<float>(in_steps));
}

}  // namespace

ConvertResult import_hf(const std::string& hf_folder, const std::string& output_path, std::optional<TensorType> type,
                        const Task& task) {
  const HfFolder folder = HfFolder::open(hf_folder);
  check_type(folder, type);
  GgufMetadata metadata = build_metadata(folder);
  const TensorType float_type = type && is_float(*type) ? *type : TensorType::f16;
  const std::vector<TensorJob> jobs = plan_tensors(folder, float_type, type);
  check_output(folder, output_path);
  ConvertResult result;
  result.architecture = gguf_architecture(folder.config);
  result.type = main_type(jobs, float_type);
  result.n_tensors = jobs.size();
  metadata.set_uint32("general.file_type", file_type(result.type));
  note_imports(folder, jobs, task, result, metadata);

  std::vector<GgufTensorPlan> plans;
  for (const TensorJob& job : jobs) plans.push_back(job.plan);
  GgufWriter writer(output_path, metadata, plans);
  StreamProgress progress;
  for (const GgufTensorPlan& plan : plans) progress.total += gguf_tensor_bytes(plan);
  for (const TensorJob& job : jobs) {
    stream_tensor(job, folder.weights.source(), writer, task, progress);
    // A model may exceed the memory.
    for (const SafetensorsTensor* source : {job.source, job.packed ? job.packed->codes : nullptr}) {
      if (source != nullptr) folder.weights.release(source->data);
    }
  }
  task.check("convert");
  writer.commit();
  result.file_bytes = writer.bytes_written();
  return result;
}

ConvertResult convert_hf(const std::string& hf_folder, const std::string& output_path, TensorType type,
                         const Task& task) {
  const std::string config = (fs::path(hf_folder) / "config.json").string();
  if (const HfFolder folder = HfFolder::open(hf_folder); folder.config.quantization) {
    fail(ErrorCode::unsupported,
         "{}: the weights are already quantized ('{}'), expected float weights; `thimble convert` imports them", config,
         hf_packing_name(folder.config.quantization->packing));
  }
  return import_hf(hf_folder, output_path, type, task);
}

bool is_hf_folder(const std::string& path) {
  std::error_code ignored;
  return fs::is_regular_file(fs::path(path) / "config.json", ignored);
}

}  // namespace thimble
