// The agent's choices and its memory; its update is compared with PyTorch's in
// tests/parity/test_tying.py.
#include "train/tying/q_agent.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/temp_dir.h"
#include "formats/safetensors.h"
#include "rondo/error.h"

namespace rondo {
namespace {

constexpr int kLayers = 4, kOutputs = 10;
const std::vector<float> kState = {0, 0, 1, 0};
constexpr ActionSlice kSlice = {3, 3};

Transition Reward(int action, float reward) {
  return {.state = kState, .slice = kSlice, .action = action, .reward = reward, .next = kState};
}

TEST(QAgent, LearnsTheActionThatIsRewarded) {
  QAgent agent({.discount = 0.5, .lr = 1e-2}, kLayers, kOutputs);
  const std::vector<uint8_t> all(3, 1);
  for (int n = 0; n < 300; ++n) agent.Learn(Reward(n % 3, n % 3 == 1 ? 1.0f : 0.0f), n);
  const QAgent::Chosen chosen = agent.Choose(kState, kSlice, all, 0, 300);
  EXPECT_EQ(chosen.action, 1);
  EXPECT_FALSE(chosen.explored);
  // r + ½ max Q has the fixed point 2.
  EXPECT_NEAR(chosen.value, 2, 0.2);
}

TEST(QAgent, BeginsWithWhatIsFavoured) {
  const std::vector<uint8_t> all(3, 1);
  for (int action = 0; action < 3; ++action) {
    const QAgent agent({.favoured = {kSlice.begin + action}, .head_start = 50}, kLayers, kOutputs);
    EXPECT_EQ(agent.Choose(kState, kSlice, all, 0, 0).action, action);
  }
}

TEST(QAgent, ExploresTheAllowedActionsAlike) {
  const QAgent agent({.seed = 7}, kLayers, kOutputs);
  const std::vector<uint8_t> allowed = {1, 0, 1};
  std::vector<int> counts(3);
  int explored = 0;
  constexpr int kDraws = 4000;
  for (int n = 0; n < kDraws; ++n) {
    const QAgent::Chosen chosen = agent.Choose(kState, kSlice, allowed, 0.5, n);
    explored += chosen.explored;
    if (chosen.explored) ++counts[static_cast<size_t>(chosen.action)];
  }
  EXPECT_EQ(counts[1], 0);
  // Binomial: five deviations of √(n p (1 − p)).
  EXPECT_NEAR(explored, kDraws / 2, 5 * std::sqrt(kDraws / 4.0));
  EXPECT_NEAR(counts[0], explored / 2.0, 5 * std::sqrt(explored / 4.0));
}

TEST(QAgent, GoesOnToTheSameBitsFromWhatItSaved) {
  const QAgentOptions options = {.replay = 5, .replay_batch = 3, .target_every = 4, .seed = 2};
  const TempDir dir;
  QAgent whole(options, kLayers, kOutputs);
  for (int n = 0; n < 9; ++n) whole.Learn(Reward(n % 3, static_cast<float>(n)), n);
  WriteSafetensors(dir.File("agent"), whole.Save());
  QAgent resumed(options, kLayers, kOutputs);
  resumed.Load(dir.File("agent"));
  for (int n = 9; n < 15; ++n) {
    const QAgent::Update a = whole.Learn(Reward(n % 3, 1), n);
    const QAgent::Update b = resumed.Learn(Reward(n % 3, 1), n);
    EXPECT_EQ(a.loss, b.loss) << n;
    EXPECT_EQ(a.target, b.target) << n;
  }
  QAgent other(options, kLayers + 1, kOutputs);
  EXPECT_THROW(other.Load(dir.File("agent")), Error);
}

}  // namespace
}  // namespace rondo
