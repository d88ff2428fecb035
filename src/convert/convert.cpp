// Conducts a conversion: reads the folder, plans metadata and tensors, then streams the data.
#include "convert/convert.h"

#include <filesystem>

#include "base/error.h"
#include "convert/hf_folder.h"
#include "convert/tensor_plan.h"
#include "convert/tensor_stream.h"
#include "convert/vocabulary.h"
#include "format/gguf_writer.h"

namespace thimble {

namespace {

namespace fs = std::filesystem;

// llama_ftype of llama.h; the number that says which type most matrices have.
uint32_t file_type(TensorType type) {
  switch (type) {
    case TensorType::f32:
      return 0;
    case TensorType::f16:
      return 1;
    case TensorType::bf16:
      return 32;
    default:
      fail(ErrorCode::invalid_argument, "convert: output type {}, expected f16, bf16 or f32", traits(type).name);
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

GgufMetadata build_metadata(const HfFolder& folder, TensorType type) {
  const std::string architecture = gguf_architecture(folder.config);
  GgufMetadata metadata;
  metadata.set_string("general.architecture", architecture);
  metadata.set_string("general.type", "model");
  metadata.set_string("general.name", folder.name);
  write_hyperparameters(folder.config, architecture, metadata);
  metadata.set_uint32("general.file_type", file_type(type));
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

}  // namespace

ConvertResult convert_hf(const std::string& hf_folder, const std::string& output_path, TensorType type,
                         const Task& task) {
  const HfFolder folder = HfFolder::open(hf_folder);
  const GgufMetadata metadata = build_metadata(folder, type);
  const std::vector<TensorJob> jobs = plan_tensors(folder, type);
  check_output(folder, output_path);

  std::vector<GgufTensorPlan> plans;
  for (const TensorJob& job : jobs) plans.push_back(job.plan);
  GgufWriter writer(output_path, metadata, plans);
  StreamProgress progress;
  for (const GgufTensorPlan& plan : plans) {
    progress.total +=
        traits(plan.type).block_bytes * static_cast<uint64_t>(plan.ne[0]) * static_cast<uint64_t>(plan.ne[1]);
  }
  for (const TensorJob& job : jobs) {
    stream_tensor(job, folder.weights.source(), writer, task, progress);
    if (job.source != nullptr) folder.weights.release(job.source->data);  // a model may exceed the memory
  }
  task.check("convert");
  writer.commit();
  return {gguf_architecture(folder.config), jobs.size(), writer.bytes_written()};
}

bool is_hf_folder(const std::string& path) {
  std::error_code ignored;
  return fs::is_regular_file(fs::path(path) / "config.json", ignored);
}

}  // namespace thimble
