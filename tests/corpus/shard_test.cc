#include "corpus/shard.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <vector>

#include "base/compressed.h"
#include "base/file_size_limit.h"
#include "base/temp_dir.h"
#include "rondo/error.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr ShardHeader kSmall = {.tokenizer = 11, .vocab_size = 65536, .key = 13};
constexpr ShardHeader kLarge = {.tokenizer = 11, .vocab_size = 65537, .key = 13};

void Write(const std::string& path, const ShardHeader& header) {
  ShardWriter writer(path, header);
  writer.Add(std::vector<int32_t>{1, 2, 3}, 100);
  writer.Add(std::vector<int32_t>{static_cast<int32_t>(header.vocab_size) - 1}, 200);
  writer.Commit();
}

TEST(Shard, GivesBackWhatWasWrittenInTwoOrFourBytes) {
  TempDir dir;
  for (const ShardHeader& header : {kSmall, kLarge}) {
    Write(dir.File("s"), header);
    const Shard shard(dir.File("s"), header);
    ASSERT_EQ(shard.tokens(), 4);
    ASSERT_EQ(shard.documents().size(), 2u);
    EXPECT_EQ(shard.documents()[0].end, 3u);
    EXPECT_EQ(shard.documents()[1].end, 4u);
    EXPECT_EQ(shard.documents()[1].hash, 200u);
    std::vector<int32_t> ids(3);
    shard.Read(1, ids);
    EXPECT_THAT(ids, ElementsAre(2, 3, static_cast<int32_t>(header.vocab_size) - 1));
    EXPECT_EQ(fs::file_size(dir.File("s.tokens")), header == kSmall ? 64u + 8 : 64u + 16);
    EXPECT_EQ(fs::file_size(dir.File("s.documents")), 64u + 32);
  }
}

TEST(Shard, WithoutCommitNothingIsLeft) {
  TempDir dir;
  { ShardWriter(dir.File("s"), kSmall).Add(std::vector<int32_t>{1}, 1); }
  EXPECT_FALSE(Shard::Exists(dir.File("s")));
  EXPECT_TRUE(fs::is_empty(dir.File("")));
}

TEST(Shard, FullDiskIsAnErrorAndLeavesNothing) {
  TempDir dir;
  {
    FileSizeLimit limit(4096);
    const auto write = [&] {
      ShardWriter writer(dir.File("s"), kSmall);
      for (int i = 0; i < 100; ++i) writer.Add(std::vector<int32_t>(1000, 1), 1);
      writer.Commit();
    };
    EXPECT_THAT(write, ThrowsMessage<Error>(AllOf(HasSubstr("s.tokens"), HasSubstr("write"))));
  }
  EXPECT_TRUE(fs::is_empty(dir.File("")));
}

TEST(Shard, RefusesWhatIsNotTheShardItExpects) {
  TempDir dir;
  struct Case {
    const char* file;
    size_t byte;
    const char* field;
  };
  for (const Case& c : std::vector<Case>{{"s.tokens", 0, "magic"},
                                         {"s.tokens", 8, "version"},
                                         {"s.tokens", 12, "element_bytes"},
                                         {"s.tokens", 16, "tokenizer: packed with another"},
                                         {"s.tokens", 24, "vocab_size"},
                                         {"s.tokens", 32, "key"},
                                         {"s.documents", 7, "magic"},
                                         {"s.documents", 12, "element_bytes"},
                                         {"s.documents", 23, "tokenizer"},
                                         {"s.documents", 71, "documents"},
                                         {"s.documents", 80, "tokens"}}) {
    Write(dir.File("s"), kSmall);
    std::string bytes = ReadTextFile(dir.File(c.file));
    bytes[c.byte] = static_cast<char>(bytes[c.byte] + 1);
    Put(dir.File(c.file), bytes);
    EXPECT_THAT([&] { Shard(dir.File("s"), kSmall); },
                ThrowsMessage<Error>(AllOf(HasSubstr("/s."), HasSubstr(c.field))))
        << c.file << " " << c.byte;
  }
}

TEST(Shard, RefusesCutFilesAndForeignIds) {
  TempDir dir;
  for (const char* file : {"s.tokens", "s.documents"}) {
    Write(dir.File("s"), kSmall);
    const std::string whole = ReadTextFile(dir.File(file));
    for (size_t size = 0; size < whole.size(); ++size) {
      Put(dir.File(file), whole.substr(0, size));
      EXPECT_THROW(Shard(dir.File("s"), kSmall), Error) << file << " " << size;
    }
  }
  const ShardHeader tight = {.tokenizer = 11, .vocab_size = 3, .key = 13};
  ShardWriter writer(dir.File("t"), tight);
  writer.Add(std::vector<int32_t>{1, 3}, 1);
  writer.Commit();
  const Shard shard(dir.File("t"), tight);
  std::vector<int32_t> ids(2);
  EXPECT_THAT([&] { shard.Read(0, ids); },
              ThrowsMessage<Error>(AllOf(HasSubstr("id 3 at position 1"), HasSubstr("t.tokens"))));
}

}  // namespace
}  // namespace rondo
