#include "hub/hf_tensors.h"

#include <algorithm>

#include "base/strings.h"
#include "base/warn.h"
#include "hub/hf_family.h"
#include "hub/hf_layout.h"
#include "rondo/error.h"

namespace rondo {
namespace {

// One tensor of the checkpoint and what it holds: a canonical tensor, or q, k and v.
struct Slot {
  std::string name;                    // without the family's prefix
  std::vector<std::string> canonical;  // one, or three if fused
  Shape shape;                         // canonical; of q, k and v stacked if fused
  bool has_prefix = true;
  bool transposed = false;
  float gain_offset = 0;

  bool fused() const { return canonical.size() == 3; }
  Shape stored_shape() const { return transposed ? Shape{shape[1], shape[0]} : shape; }
};

void AddModule(const ModelConfig& config, const HfTensorNames& names, Module m, int depth,
               std::vector<Slot>* slots) {
  const bool fused = names.qkv != HfQkv::kSeparate && m <= Module::kV;
  if (fused && m != Module::kQ) return;  // all three are in q's slot
  const std::string_view module = fused ? names.fused : names.modules[static_cast<size_t>(m)];
  const std::string name =
      std::string(names.layers) + "." + std::to_string(depth) + "." + std::string(module);
  const auto add = [&](const char* part, Shape shape) {
    Slot slot{.name = name + "." + part, .canonical = {BlockTensor(depth, m, part)}};
    if (fused) {
      slot.canonical.push_back(BlockTensor(depth, Module::kK, part));
      slot.canonical.push_back(BlockTensor(depth, Module::kV, part));
      shape[0] *= 3;
    }
    slot.transposed = names.transposed && IsLinear(m) && shape.size() == 2;
    if (!IsLinear(m)) slot.gain_offset = names.gain_offset;
    slot.shape = std::move(shape);
    slots->push_back(std::move(slot));
  };
  const Shape shape = config.ModuleShape(m);
  add("weight", shape);
  if (config.HasBias(m)) add("bias", {shape[0]});
}

// Every tensor of a checkpoint with this configuration.
std::vector<Slot> Slots(const ModelConfig& config, const HfTensorNames& names) {
  const int64_t d = config.d_model;
  std::vector<Slot> slots;
  const auto add = [&](std::string_view name, const char* canonical, const char* part,
                       Shape shape) {
    slots.push_back({.name = std::string(name) + "." + part,
                     .canonical = {std::string(canonical) + "." + part},
                     .shape = std::move(shape)});
  };
  add(names.embed, "embed", "weight", {config.vocab, d});
  if (config.positions == PositionKind::kLearned) {
    add(names.positions, "positions", "weight", {config.max_positions, d});
  }
  for (int depth = 0; depth < config.layers; ++depth) {
    for (const Module m : kAllModules) {
      if (config.HasModule(m)) AddModule(config, names, m, depth, &slots);
    }
  }
  add(names.final_norm, "final_norm", "weight", {d});
  slots.back().gain_offset = names.gain_offset;
  if (config.norm == NormKind::kLayer) add(names.final_norm, "final_norm", "bias", {d});
  if (!config.tied_embeddings) {
    add(names.head, "head", "weight", {config.vocab, d});
    slots.back().has_prefix = false;
  }
  return slots;
}

const HfTensorNames& NamesOf(const ModelConfig& config) {
  return FindHfFamily(config.family, {}).tensors;
}

// Row order [q, k, v][head] -> [head][q, k, v], as indices into the former.
std::vector<int64_t> InterleavedRows(int64_t rows, int heads) {
  const int64_t head_rows = rows / 3 / heads;
  std::vector<int64_t> order;
  for (int64_t head = 0; head < heads; ++head) {
    for (int64_t part = 0; part < 3; ++part) {
      for (int64_t i = 0; i < head_rows; ++i) {
        order.push_back(part * (rows / 3) + head * head_rows + i);
      }
    }
  }
  return order;
}

// As a matrix whose rows are outputs: biases become one column.
Tensor AsRows(const Tensor& tensor) {
  return tensor.shape().size() == 1 ? Reshape(tensor, {tensor.dim(0), 1}) : tensor;
}

// Biases and gains as f32 with the family's offset, matrices as they are.
Tensor CanonicalType(const Tensor& tensor, float offset) {
  if (tensor.shape().size() > 1) return tensor;
  if (offset == 0) return Cast(tensor, DType::kF32);
  std::vector<float> values = ToF32(tensor);
  for (float& value : values) value += offset;
  return Tensor::FromF32(tensor.shape(), std::move(values));
}

void SplitFused(const Slot& slot, const Tensor& stored, HfQkv qkv, int heads, Weights* weights) {
  const Tensor rows = AsRows(stored);
  const int64_t count = rows.rows() / 3;
  const std::vector<int64_t> order = InterleavedRows(rows.rows(), heads);
  std::vector<int64_t> inverse(order.size());
  for (size_t i = 0; i < order.size(); ++i) {
    inverse[static_cast<size_t>(order[i])] = static_cast<int64_t>(i);
  }
  for (int64_t part = 0; part < 3; ++part) {
    const auto part_rows =
        std::span(inverse).subspan(static_cast<size_t>(part * count), static_cast<size_t>(count));
    Tensor tensor =
        qkv == HfQkv::kStacked ? SliceRows(rows, part * count, count) : GatherRows(rows, part_rows);
    if (stored.shape().size() == 1) tensor = Reshape(tensor, {count});
    weights->Set(slot.canonical[static_cast<size_t>(part)], CanonicalType(tensor, 0));
  }
}

Tensor MergeFused(const Slot& slot, const Weights& weights, HfQkv qkv, int heads, DType store) {
  std::vector<Tensor> parts;
  for (const std::string& name : slot.canonical) {
    parts.push_back(AsRows(Cast(weights.Get(name), store)));
  }
  const Tensor stacked = ConcatRows(parts);
  const Tensor rows = qkv == HfQkv::kStacked
                          ? stacked
                          : GatherRows(stacked, InterleavedRows(stacked.rows(), heads));
  return Reshape(rows, slot.shape);
}

Tensor MakeStored(const Slot& slot, const ModelConfig& config, const Weights& weights,
                  DType store) {
  if (slot.fused()) {
    const HfQkv qkv = NamesOf(config).qkv;
    const Tensor merged = MergeFused(slot, weights, qkv, config.heads, store);
    return slot.transposed ? Transpose(merged) : merged;
  }
  const Tensor& tensor = weights.Get(slot.canonical[0]);
  if (slot.gain_offset != 0) return Cast(CanonicalType(tensor, -slot.gain_offset), store);
  return slot.transposed ? Transpose(Cast(tensor, store)) : Cast(tensor, store);
}

// Tensors of a file by their name without prefix; every tensor must be taken exactly once.
class Intake {
 public:
  Intake(const HfTensorNames& names, const TensorMap& tensors, const std::string& file)
      : file_(file) {
    for (const auto& [full_name, tensor] : tensors) {
      std::string_view name = full_name;
      if (name.starts_with(names.prefix)) name.remove_prefix(names.prefix.size());
      constexpr std::string_view kUsualHead = "lm_head.";
      std::string key(name);
      if (name.starts_with(kUsualHead)) {
        key = std::string(names.head) + "." + std::string(name.substr(kUsualHead.size()));
      }
      if (!tensors_.emplace(std::move(key), tensor).second) {
        Fail(full_name, "tensor given twice, with and without prefix", "one of them");
      }
    }
  }

  Tensor Take(const std::string& name, const Shape& shape) {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) Fail(name, "missing tensor", "shape " + ToString(shape));
    const Tensor tensor = found->second;
    if (tensor.shape() != shape) Fail(name, "shape " + ToString(tensor.shape()), ToString(shape));
    tensors_.erase(found);
    return tensor;
  }

  bool Has(const std::string& name) const { return tensors_.contains(name); }
  const Tensor& Get(const std::string& name) const { return tensors_.at(name); }
  void Drop(const std::string& name) { tensors_.erase(name); }
  void Rename(const std::string& from, const std::string& to) {
    auto node = tensors_.extract(from);
    node.key() = to;
    tensors_.insert(std::move(node));
  }
  const std::string& file() const { return file_; }

  void RefuseRest(const std::vector<Slot>& slots) const {
    if (tensors_.empty()) return;
    const std::string& name = tensors_.begin()->first;
    std::vector<std::string> known;
    for (const Slot& slot : slots) known.push_back(slot.name);
    const std::string nearest = NearestName(name, known);
    Fail(name, "tensor that this configuration does not use",
         "only the model's own tensors" +
             (nearest.empty() ? "" : "; did you mean '" + nearest + "'?"));
  }

  [[noreturn]] void Fail(const std::string& tensor, std::string problem,
                         std::string expected) const {
    throw Error({.function = "ReadHfWeights",
                 .problem = std::move(problem),
                 .expected = std::move(expected),
                 .file = file_,
                 .field = tensor});
  }

 private:
  const std::string& file_;
  TensorMap tensors_;
};

// Whatever types they have: copies of a head are often stored in another one.
bool SameValues(const Tensor& a, const Tensor& b) {
  if (a.shape() != b.shape()) return false;
  if (a.dtype() == b.dtype() && std::ranges::equal(a.bytes(), b.bytes())) return true;
  std::vector<float> row_a(static_cast<size_t>(a.cols())), row_b(row_a.size());
  for (int64_t row = 0; row < a.rows(); ++row) {
    RowToF32(a, row, row_a.data());
    RowToF32(b, row, row_b.data());
    if (row_a != row_b) return false;
  }
  return true;
}

// As transformers 5: a head beside tied embeddings goes where it repeats them, stays where it
// differs, and is the embedding where that is missing.
void SettleHead(const HfTensorNames& names, Intake* intake, ModelConfig* config) {
  const std::string head = std::string(names.head) + ".weight";
  const std::string embed = std::string(names.embed) + ".weight";
  const bool has_head = intake->Has(head);
  if (!config->tied_embeddings && !has_head) {
    intake->Fail(
        head, "missing tensor",
        "shape " + ToString({config->vocab, config->d_model}) +
            ", or tie_word_embeddings true in config.json where the embedding is the head");
  }
  if (!config->tied_embeddings || !has_head) return;
  if (!intake->Has(embed)) return intake->Rename(head, embed);
  if (SameValues(intake->Get(head), intake->Get(embed))) return intake->Drop(head);
  config->tied_embeddings = false;
  Warn(intake->file() + ": " + head +
       " differs from the embedding and is kept, although tie_word_embeddings is on");
}

// One tensor of a checkpoint as canonical ones.
void AddStored(const Slot& slot, Tensor stored, const HfTensorNames& names, int heads,
               Weights* weights) {
  if (slot.transposed) stored = Transpose(stored);
  if (slot.fused()) return SplitFused(slot, stored, names.qkv, heads, weights);
  weights->Set(slot.canonical[0], CanonicalType(stored, slot.gain_offset));
}

const Slot* FindSlot(const std::vector<Slot>& slots, std::string_view name) {
  const auto found = std::ranges::find(slots, name, &Slot::name);
  return found == slots.end() ? nullptr : &*found;
}

}  // namespace

bool IsHfWeight(const ModelConfig& config, std::string_view name) {
  const auto& buffers = NamesOf(config).buffers;
  return std::none_of(buffers.begin(), buffers.end(), [&](std::string_view buffer) {
    return name == buffer || name.ends_with("." + std::string(buffer));
  });
}

Weights ReadHfWeights(ModelConfig* config, const TensorMap& tensors, const std::string& file) {
  const HfTensorNames& names = NamesOf(*config);
  Intake intake(names, tensors, file);
  SettleHead(names, &intake, config);
  const std::vector<Slot> slots = Slots(*config, names);
  Weights weights;
  for (const Slot& slot : slots) {
    AddStored(slot, intake.Take(slot.name, slot.stored_shape()), names, config->heads, &weights);
  }
  intake.RefuseRest(slots);
  return weights;
}

std::string HfBareName(const ModelConfig& config, std::string_view name) {
  const HfTensorNames& names = NamesOf(config);
  if (name.starts_with(names.prefix)) name.remove_prefix(names.prefix.size());
  return std::string(name);
}

std::optional<Weights> HfCanonical(const ModelConfig& config, std::string_view name,
                                   const Tensor& stored) {
  ModelConfig with_head = config;
  with_head.tied_embeddings = false;
  const HfTensorNames& names = NamesOf(config);
  const std::vector<Slot> slots = Slots(with_head, names);
  const Slot* slot = FindSlot(slots, name);
  if (slot == nullptr || slot->stored_shape() != stored.shape()) return std::nullopt;
  Weights weights;
  AddStored(*slot, stored, names, config.heads, &weights);
  return weights;
}

std::optional<Weights> HfCanonicalRows(const ModelConfig& config, std::string_view name,
                                       const Tensor& rows) {
  ModelConfig with_head = config;
  with_head.tied_embeddings = false;
  const HfTensorNames& names = NamesOf(config);
  const std::vector<Slot> slots = Slots(with_head, names);
  const Slot* slot = FindSlot(slots, name);
  if (slot == nullptr || slot->shape.size() != 2 || slot->shape[0] != rows.rows()) {
    return std::nullopt;
  }
  Weights weights;
  if (slot->fused()) {
    SplitFused(*slot, rows, names.qkv, config.heads, &weights);
  } else {
    weights.Set(slot->canonical[0], rows);
  }
  return weights;
}

std::vector<TensorSource> HfTensorSources(const ModelConfig& config, const Weights& weights,
                                          DType store) {
  const HfTensorNames& names = NamesOf(config);
  std::vector<TensorSource> sources;
  for (const Slot& slot : Slots(config, names)) {
    const std::string prefix(slot.has_prefix ? names.prefix : std::string_view());
    sources.push_back({.name = prefix + slot.name,
                       .dtype = store,
                       .shape = slot.stored_shape(),
                       .make = [slot, config, &weights, store] {
                         return MakeStored(slot, config, weights, store);
                       }});
  }
  return sources;
}

}  // namespace rondo
