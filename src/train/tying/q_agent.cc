#include "train/tying/q_agent.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/hash.h"
#include "base/rng.h"
#include "formats/safetensors.h"
#include "kernels/grad/row_kernels.h"
#include "rondo/error.h"
#include "train/model/params.h"

namespace rondo {
namespace {

constexpr std::array<const char*, 4> kNames = {"w1", "b1", "w2", "b2"};
// What random numbers are for.
constexpr uint64_t kChoose = 1, kReplay = 2;

Rng RngOf(uint64_t seed, uint64_t purpose, int64_t decision) {
  return Rng(
      CombineHash(CombineHash(CombineHash(0, seed), purpose), static_cast<uint64_t>(decision)));
}

// Weight and bias of a layer as PyTorch begins them: uniform within ±1/√inputs.
at::Tensor Uniform(std::vector<int64_t> shape, int inputs, Rng& rng) {
  at::Tensor tensor = at::empty(shape, at::kFloat);
  const double bound = 1 / std::sqrt(static_cast<double>(inputs));
  float* data = tensor.mutable_data_ptr<float>();
  for (int64_t i = 0; i < tensor.numel(); ++i) {
    data[i] = static_cast<float>(bound * (2 * rng.Uniform() - 1));
  }
  return tensor;
}

at::Tensor Row(std::span<const float> values) {
  at::Tensor row = at::empty({1, static_cast<int64_t>(values.size())}, at::kFloat);
  std::ranges::copy(values, row.mutable_data_ptr<float>());
  return row;
}

// A transition as numbers: slice, action, reward, then both states.
std::vector<float> Pack(const Transition& t) {
  std::vector<float> out = {static_cast<float>(t.slice.begin), static_cast<float>(t.slice.count),
                            static_cast<float>(t.action), t.reward};
  out.insert(out.end(), t.state.begin(), t.state.end());
  out.insert(out.end(), t.next.begin(), t.next.end());
  return out;
}

Transition Unpack(std::span<const float> in) {
  const size_t states = (in.size() - 4) / 2;
  const auto state = in.subspan(4, states), next = in.subspan(4 + states);
  return {.state = {state.begin(), state.end()},
          .slice = {static_cast<int>(in[0]), static_cast<int>(in[1])},
          .action = static_cast<int>(in[2]),
          .reward = in[3],
          .next = {next.begin(), next.end()}};
}

}  // namespace

std::vector<at::Tensor*> QAgent::Tensors(Net& net) { return {&net.w1, &net.b1, &net.w2, &net.b2}; }

QAgent::QAgent(const QAgentOptions& options, int inputs, int outputs) : options_(options) {
  Rng rng(options.seed);
  net_ = {.w1 = Uniform({options.hidden, inputs}, inputs, rng),
          .b1 = Uniform({options.hidden}, inputs, rng),
          .w2 = Uniform({outputs, options.hidden}, options.hidden, rng),
          .b2 = Uniform({outputs}, options.hidden, rng)};
  for (const int output : options.favoured) {
    net_.b2.mutable_data_ptr<float>()[output] += static_cast<float>(options.head_start);
  }
  for (at::Tensor* tensor : Tensors(net_)) {
    tensor->requires_grad_(true);
    m_.push_back(at::zeros_like(*tensor).detach());
    v_.push_back(at::zeros_like(*tensor).detach());
  }
  const auto copy = [](const at::Tensor& tensor) { return tensor.detach().clone(); };
  target_ = {copy(net_.w1), copy(net_.b1), copy(net_.w2), copy(net_.b2)};
}

at::Tensor QAgent::Values(const Net& net, const at::Tensor& states) {
  return at::linear(at::relu(at::linear(states, net.w1, net.b1)), net.w2, net.b2);
}

QAgent::Chosen QAgent::Choose(std::span<const float> state, ActionSlice slice,
                              std::span<const uint8_t> allowed, double epsilon,
                              int64_t decision) const {
  const at::NoGradGuard no_grad;
  const at::Tensor all = Values(net_, Row(state));
  const float* values = all.const_data_ptr<float>() + slice.begin;
  std::vector<int> actions;
  for (int a = 0; a < slice.count; ++a) {
    if (allowed[static_cast<size_t>(a)] != 0) actions.push_back(a);
  }
  Rng rng = RngOf(options_.seed, kChoose, decision);
  Chosen chosen{.explored = rng.Uniform() < epsilon};
  if (chosen.explored) {
    const double at = rng.Uniform() * static_cast<double>(actions.size());
    chosen.action = actions[static_cast<size_t>(at)];
  } else {
    chosen.action = *std::ranges::max_element(actions, {}, [&](int a) { return values[a]; });
  }
  chosen.value = values[chosen.action];
  return chosen;
}

double QAgent::Target(const Transition& t) const {
  const at::NoGradGuard no_grad;
  const at::Tensor all = Values(options_.target_every > 0 ? target_ : net_, Row(t.next));
  const float* values = all.const_data_ptr<float>() + t.slice.begin;
  return t.reward + options_.discount * *std::max_element(values, values + t.slice.count);
}

// The newest transition, and others of the memory by chance.
std::vector<const Transition*> QAgent::Batch(int64_t decision) const {
  std::vector<const Transition*> batch = {&memory_.back()};
  if (options_.replay == 0) return batch;
  Rng rng = RngOf(options_.seed, kReplay, decision);
  while (static_cast<int>(batch.size()) < options_.replay_batch) {
    batch.push_back(&memory_[rng.Next() % memory_.size()]);
  }
  return batch;
}

QAgent::Update QAgent::Learn(Transition transition, int64_t decision) {
  memory_.push_back(std::move(transition));
  while (static_cast<int>(memory_.size()) > std::max(1, options_.replay)) memory_.pop_front();
  Update update;
  at::Tensor loss;
  const std::vector<const Transition*> batch = Batch(decision);
  for (const Transition* t : batch) {
    const double target = Target(*t);
    if (t == batch.front()) update.target = target;
    const at::Tensor value = Values(net_, Row(t->state))[0][t->slice.begin + t->action];
    const at::Tensor square = (value - target).square() / static_cast<double>(batch.size());
    loss = loss.defined() ? loss + square : square;
  }
  update.loss = loss.item<double>();
  torch::autograd::backward({loss}, {at::ones_like(loss)});
  Step(decision + 1);
  return update;
}

void QAgent::Step(int64_t updates) {
  const auto n = static_cast<double>(updates);
  const AdamStep step = {.lr = static_cast<float>(options_.lr),
                         .beta1 = 0.9f,
                         .beta2 = 0.999f,
                         .eps = 1e-8f,
                         .weight_decay = static_cast<float>(options_.weight_decay),
                         .grad_scale = 1,
                         .correction1 = static_cast<float>(1 - std::pow(0.9, n)),
                         .correction2 = static_cast<float>(1 - std::pow(0.999, n))};
  const at::NoGradGuard no_grad;
  const std::vector<at::Tensor*> tensors = Tensors(net_);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const at::Tensor grad = tensors[i]->grad().contiguous();
    AdamW(step, grad.numel(), grad.const_data_ptr<float>(), m_[i].mutable_data_ptr<float>(),
          v_[i].mutable_data_ptr<float>(), tensors[i]->mutable_data_ptr<float>());
    tensors[i]->mutable_grad() = at::Tensor();
  }
  if (options_.target_every == 0 || updates % options_.target_every != 0) return;
  const std::vector<at::Tensor*> targets = Tensors(target_);
  for (size_t i = 0; i < tensors.size(); ++i) targets[i]->copy_(*tensors[i]);
}

std::vector<std::pair<std::string, Tensor>> QAgent::Save() const {
  std::vector<std::pair<std::string, Tensor>> out;
  Net net = net_, target = target_;
  const std::vector<at::Tensor*> tensors = Tensors(net), targets = Tensors(target);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const std::string name = std::string("agent.") + kNames[i];
    out.emplace_back(name, FromTorch(*tensors[i]));
    out.emplace_back(name + ".m", FromTorch(m_[i]));
    out.emplace_back(name + ".v", FromTorch(v_[i]));
    if (options_.target_every > 0) out.emplace_back(name + ".target", FromTorch(*targets[i]));
  }
  if (memory_.empty() || options_.replay == 0) return out;
  std::vector<float> packed;
  for (const Transition& t : memory_) {
    const std::vector<float> one = Pack(t);
    packed.insert(packed.end(), one.begin(), one.end());
  }
  const auto rows = static_cast<int64_t>(memory_.size());
  const int64_t width = static_cast<int64_t>(packed.size()) / rows;
  out.emplace_back("agent.memory", Tensor::FromF32({rows, width}, std::move(packed)));
  return out;
}

void QAgent::Load(const std::string& file) {
  const at::NoGradGuard no_grad;
  const TensorMap stored = ReadSafetensors(file);
  const auto load = [&](const std::string& name, at::Tensor& into) {
    const auto found = stored.find(name);
    if (found == stored.end() || found->second.elements() != into.numel()) {
      throw Error({.function = "QAgent::Load",
                   .problem = "no tensor of " + std::to_string(into.numel()) + " values",
                   .expected = "the state of an agent of the same model and options",
                   .file = file,
                   .field = name});
    }
    into.copy_(ToTorch(found->second).view_as(into));
  };
  const std::vector<at::Tensor*> tensors = Tensors(net_), targets = Tensors(target_);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const std::string name = std::string("agent.") + kNames[i];
    load(name, *tensors[i]);
    load(name + ".m", m_[i]);
    load(name + ".v", v_[i]);
    if (options_.target_every > 0) load(name + ".target", *targets[i]);
  }
  const auto memory = stored.find("agent.memory");
  if (memory == stored.end()) return;
  const std::vector<float> packed = ToF32(memory->second);
  const auto width = static_cast<size_t>(memory->second.cols());
  memory_.clear();
  for (size_t at = 0; width > 4 && at + width <= packed.size(); at += width) {
    memory_.push_back(Unpack(std::span(packed).subspan(at, width)));
  }
}

}  // namespace rondo
