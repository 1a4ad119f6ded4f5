// The teacher's most probable tokens: what is read is what was computed.
#include "train/model/teacher_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/temp_dir.h"
#include "rondo/error.h"
#include "train/train_testing.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;

class Cached : public testing::Test {
 protected:
  Cached() : model_(RandomModel(SmallConfig(), IdentityPlan(SmallConfig()))), teacher_(model_, 8) {}

  BatchTokens Batch(uint64_t seed, int border = 0) const {
    return SplitBatch(RandomBatch(3, 8, model_.config.vocab, border, seed), border > 0, 0, 3);
  }
  TeacherCache Open() const { return TeacherCache(dir_.File("top"), teacher_, 5, 8); }

  TempDir dir_;
  Model model_;
  Teacher teacher_;
};

void ExpectSame(const TopTokens& a, const TopTokens& b) {
  EXPECT_EQ(a.ids, b.ids);
  EXPECT_EQ(a.log_p, b.log_p);
}

TEST_F(Cached, KeepsTheMostProbableTokensOfEveryPosition) {
  TeacherCache cache = Open();
  const BatchTokens batch = Batch(1);
  const TopTokens top = cache.Get(batch);
  const TeacherOutput out = teacher_.Run(batch.inputs, batch.shape);
  const at::Tensor log_p = at::log_softmax(out.normed.mm(teacher_.head().weight.t()), 1);
  const auto [values, ids] = at::topk(log_p, 5, 1);
  ASSERT_EQ(top.ids.size(), 3u * 8 * 5);
  for (size_t i = 0; i < top.ids.size(); ++i) {
    const auto at = static_cast<int64_t>(i);
    EXPECT_EQ(top.ids[i], ids.view({-1})[at].item<int64_t>());
    EXPECT_NEAR(top.log_p[i], values.contiguous().view({-1})[at].item<float>(), 1e-5);
  }
}

TEST_F(Cached, GivesTheSameBitsAgain) {
  TopTokens first, other;
  {
    TeacherCache cache = Open();
    first = cache.Get(Batch(1));
    other = cache.Get(Batch(2));
    ExpectSame(cache.Get(Batch(1)), first);
    EXPECT_EQ(cache.rows(), 6u);
  }
  TeacherCache again = Open();
  EXPECT_EQ(again.rows(), 6u);
  const auto size = fs::file_size(dir_.File("top/part-0000.top"));
  ExpectSame(again.Get(Batch(2)), other);
  ExpectSame(again.Get(Batch(1)), first);
  EXPECT_EQ(fs::file_size(dir_.File("top/part-0000.top")), size);
}

// Ranks, or runs over the same data.
TEST_F(Cached, ProcessesThatWriteAtOnceLeaveEachOtherAlone) {
  TeacherCache a = Open(), b = Open();
  const TopTokens one = a.Get(Batch(1)), two = b.Get(Batch(2)), three = a.Get(Batch(3));
  EXPECT_NE(one.log_p, two.log_p);
  ExpectSame(a.Get(Batch(1)), one);
  ExpectSame(b.Get(Batch(2)), two);
  TeacherCache later = Open();
  EXPECT_EQ(later.rows(), 9u);
  ExpectSame(later.Get(Batch(1)), one);
  ExpectSame(later.Get(Batch(2)), two);
  ExpectSame(later.Get(Batch(3)), three);
}

TEST_F(Cached, BordersOfDocumentsBelongToARow) {
  TeacherCache cache = Open();
  const TopTokens whole = cache.Get(Batch(1));
  const TopTokens apart = cache.Get(Batch(1, 4));
  EXPECT_NE(whole.log_p, apart.log_p);
  EXPECT_EQ(cache.rows(), 4u);  // one row of the three has a border
}

TEST_F(Cached, ComputesARecordAgainThatAKillCutShort) {
  TopTokens first;
  {
    TeacherCache cache = Open();
    first = cache.Get(Batch(1));
  }
  const std::string file = dir_.File("top/part-0000.top");
  fs::resize_file(file, fs::file_size(file) - 7);
  TeacherCache again = Open();
  EXPECT_EQ(again.rows(), 2u);
  ExpectSame(again.Get(Batch(1)), first);
  EXPECT_EQ(again.rows(), 3u);
}

TEST_F(Cached, RefusesWhatAnotherTeacherGave) {
  { Open().Get(Batch(1)); }
  const Model other = RandomModel(model_.config, model_.plan, 99);
  const Teacher stranger(other, 8);
  const auto open = [&](const Teacher& teacher, int k, int64_t length) {
    TeacherCache(dir_.File("top"), teacher, k, length);
  };
  EXPECT_THAT([&] { open(stranger, 5, 8); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("teacher")));
  EXPECT_THAT([&] { open(teacher_, 6, 8); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("k: 5 (expected 6)")));
  EXPECT_THAT([&] { open(teacher_, 5, 16); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("length: 8 (expected 16)")));
}

}  // namespace
}  // namespace rondo
