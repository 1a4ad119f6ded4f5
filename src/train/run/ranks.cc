#include "train/run/ranks.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <string>
#include <string_view>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <utility>
#include <vector>

#include "base/strings.h"
#include "rondo/error.h"

namespace rondo {
namespace {

// Shares begin at multiples of a cache line, as parameters do.
constexpr int64_t kAlignElements = 16;
// A rank that is gone is noticed at once; this is for one that does not answer, and longer than any
// measurement of the first rank.
constexpr std::chrono::milliseconds kTimeout = std::chrono::hours(2);

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

// A whole number of the environment in [least, most]; `fallback` when the variable is not set.
int NumberOf(const char* name, int least, int most, int fallback) {
  const std::string text = Variable(name);
  if (text.empty()) return fallback;
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size() && value >= least && value <= most) {
    return value;
  }
  throw Error({.function = "Ranks",
               .problem = "'" + text + "'",
               .expected = "a number from " + std::to_string(least) + " to " + std::to_string(most),
               .file = "environment",
               .field = name});
}

}  // namespace

struct Ranks::Group {
  c10::intrusive_ptr<c10d::Store> store;
  c10::intrusive_ptr<c10d::ProcessGroupGloo> gloo;
  int rank, size;

  template <typename Start>
  void Do(Start&& start) const {
    try {
      start()->wait();
    } catch (const std::exception& error) {
      throw Error({.function = "Ranks",
                   .problem = "rank " + std::to_string(rank) + " of " + std::to_string(size) +
                              " has lost another one: " + FirstLine(error.what()),
                   .expected = "all ranks alive; --resume goes on from the last checkpoint"});
    }
  }
};

Ranks::Ranks() = default;
Ranks::~Ranks() = default;
Ranks::Ranks(Ranks&&) noexcept = default;
Ranks& Ranks::operator=(Ranks&&) noexcept = default;
Ranks::Ranks(int rank, int size, int local_size, std::unique_ptr<Group> group)
    : rank_(rank), size_(size), local_size_(local_size), group_(std::move(group)) {}

Ranks Ranks::FromEnvironment() {
  const int size = NumberOf("WORLD_SIZE", 1, 1 << 16, 1);
  if (size == 1) return {};
  const int rank = NumberOf("RANK", 0, size - 1, 0);
  const int local_size = NumberOf("LOCAL_WORLD_SIZE", 1, size, size);
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(NumberOf("MASTER_PORT", 1, 65535, options.port));
  // torchrun itself may keep the store at which the ranks meet.
  options.isServer = rank == 0 && Variable("TORCHELASTIC_USE_AGENT_STORE") != "True";
  options.numWorkers = static_cast<size_t>(size);
  options.waitWorkers = false;
  const std::string host = Variable("MASTER_ADDR");
  auto group = std::make_unique<Group>();
  group->rank = rank;
  group->size = size;
  try {
    const auto tcp =
        c10::make_intrusive<c10d::TCPStore>(host.empty() ? "localhost" : host, options);
    // Each restart meets anew.
    const std::string restart = Variable("TORCHELASTIC_RESTART_COUNT");
    group->store = c10::make_intrusive<c10d::PrefixStore>("rondo-train/" + restart, tcp);
    const auto gloo = c10d::ProcessGroupGloo::Options::create(kTimeout);
    gloo->devices.push_back(c10d::ProcessGroupGloo::createDefaultDevice());
    group->gloo = c10::make_intrusive<c10d::ProcessGroupGloo>(group->store, rank, size, gloo);
  } catch (const std::exception& error) {
    throw Error({.function = "Ranks",
                 .problem = "no connection to the other ranks: " + FirstLine(error.what()),
                 .expected = "the variables of torchrun, and a master that answers",
                 .file = "environment",
                 .field = "MASTER_ADDR"});
  }
  return Ranks(rank, size, local_size, std::move(group));
}

// Gloo speaks of the CPU's memory: what is elsewhere goes by way of it.
void Ranks::Sum(at::Tensor& values) const {
  if (group_ == nullptr) return;
  std::vector<at::Tensor> list = {values.cpu()};
  group_->Do([&] { return group_->gloo->allreduce(list); });
  if (!values.is_cpu()) values.copy_(list[0]);
}

void Ranks::Sum(std::span<double> values) const {
  if (group_ == nullptr) return;
  at::Tensor tensor =
      at::from_blob(values.data(), {static_cast<int64_t>(values.size())}, at::kDouble);
  Sum(tensor);
}

void Ranks::FromFirst(double& value) const {
  if (!first()) value = 0;
  Sum(std::span(&value, 1));
}

void Ranks::Wait() const {
  double nothing = 0;
  Sum(std::span(&nothing, 1));
}

Ranks::Share Ranks::ShareOf(int64_t elements, int rank) const {
  const int64_t lines = (elements + kAlignElements - 1) / kAlignElements;
  const int64_t begin = std::min(elements, lines * rank / size_ * kAlignElements);
  const int64_t end = std::min(elements, lines * (rank + 1) / size_ * kAlignElements);
  return {begin, end - begin};
}

void Ranks::GatherShares(at::Tensor& flat) const {
  if (group_ == nullptr) return;
  for (int root = 0; root < size_; ++root) {
    const Share share = ShareOf(flat.numel(), root);
    if (share.count == 0) continue;
    at::Tensor part = flat.narrow(0, share.begin, share.count);
    std::vector<at::Tensor> list = {part.cpu()};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    group_->Do([&] { return group_->gloo->broadcast(list, options); });
    if (!part.is_cpu()) part.copy_(list[0]);
  }
}

at::Tensor Ranks::CollectAtFirst(const at::Tensor& share, int64_t elements) const {
  if (group_ == nullptr) return share;
  std::vector<at::Tensor> list = {share.cpu()};
  if (!first()) {
    if (share.numel() > 0) group_->Do([&] { return group_->gloo->send(list, 0, rank_); });
    return {};
  }
  at::Tensor whole = at::empty({elements}, list[0].options());
  for (int rank = 0; rank < size_; ++rank) {
    const Share part = ShareOf(elements, rank);
    if (part.count == 0) continue;
    at::Tensor to = whole.narrow(0, part.begin, part.count);
    if (rank == 0) {
      to.copy_(share);
      continue;
    }
    list = {to};
    group_->Do([&] { return group_->gloo->recv(list, rank, rank); });
  }
  return whole;
}

const Ranks& OneProcess() {
  static const Ranks one;
  return one;
}

}  // namespace rondo
