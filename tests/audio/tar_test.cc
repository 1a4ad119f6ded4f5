#include "audio/tar.h"

#include <gmock/gmock.h>

#include <cstdio>

#include "base/temp_dir.h"
#include "rondo/error.h"

namespace rondo {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

// One member of the kind `kind`, padded, with a right checksum.
std::string Member(const std::string& name, const std::string& content, char kind = '0') {
  std::string header(512, '\0');
  header.replace(0, name.size(), name);
  std::snprintf(header.data() + 124, 12, "%011o", static_cast<unsigned>(content.size()));
  header[156] = kind;
  header.replace(257, 6, std::string("ustar\0", 6));
  header.replace(148, 8, "        ");
  unsigned sum = 0;
  for (const char c : header) sum += static_cast<unsigned char>(c);
  std::snprintf(header.data() + 148, 8, "%06o", sum);
  std::string padded = content;
  padded.resize((content.size() + 511) / 512 * 512);
  return header + padded;
}

class TarTest : public testing::Test {
 protected:
  std::shared_ptr<const TarIndex> Open(const std::string& bytes) {
    WriteTextFile(path_, bytes);
    return TarIndex::Open(path_);
  }
  static std::string Text(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  const std::string end_ = std::string(1024, '\0');
  TempDir dir_;
  std::string path_ = dir_.File("a.tar");
};

TEST_F(TarTest, GivesMembersByName) {
  const auto tar = Open(Member("d/", "", '5') + Member("d/a", "one") +
                        Member("b", std::string(600, 'x')) + end_);
  EXPECT_EQ(tar->members().size(), 2u);
  EXPECT_EQ(Text(tar->Get("d/a")), "one");
  EXPECT_EQ(Text(tar->Get("b")), std::string(600, 'x'));
}

TEST_F(TarTest, KnowsLongNamesOfGnuAndPax) {
  const std::string gnu(150, 'g'), pax(300, 'p');
  const std::string record = "310 path=" + pax + "\n";
  ASSERT_EQ(record.size(), 310u);
  const auto tar =
      Open(Member("././@LongLink", gnu + '\0', 'L') + Member("cut", "1") +
           Member("PaxHeaders/x", record, 'x') + Member("cut", "2") + Member("plain", "3") + end_);
  EXPECT_EQ(Text(tar->Get(gnu)), "1");
  EXPECT_EQ(Text(tar->Get(pax)), "2");
  EXPECT_EQ(Text(tar->Get("plain")), "3");
}

TEST_F(TarTest, SuggestsTheNearestMember) {
  const auto tar = Open(Member("speech/one.opus", "1") + end_);
  EXPECT_THAT([&] { tar->Get("speech/on.opus"); },
              ThrowsMessage<Error>(HasSubstr("did you mean 'speech/one.opus'?")));
}

TEST_F(TarTest, RefusesWhatIsNoWholeArchive) {
  const std::string good = Member("a", std::string(700, 'a')) + Member("b", "bb") + end_;
  const auto refuses = [&](const std::string& bytes, const char* what) {
    EXPECT_THAT([&] { Open(bytes); }, ThrowsMessage<Error>(HasSubstr(what)));
  };
  refuses(std::string(300, 'x'), "the archive ends");
  refuses(end_, "nothing but zeros");
  refuses(good.substr(0, 900), "a member of 700 bytes");
  refuses(good.substr(0, 512 + 1024 + 100), "the archive ends");
  refuses("\x1f\x8b" + good.substr(2), "checksum");
  std::string damaged = good;
  damaged[1536 + 3] ^= 1;
  refuses(damaged, "header at byte 1536: the checksum is wrong");
  refuses(Member("s", "sparse", 'S') + end_, "sparse");
  refuses(Member("p", "9999 path=x\n", 'x') + Member("a", "1") + end_, "malformed pax");
  refuses(Member("p", "3 \n", 'x') + Member("a", "1") + end_, "malformed pax");
}

TEST_F(TarTest, NeverReadsOutsideAnyCutFile) {
  const std::string good = Member("PaxHeaders/x", "11 path=xy\n", 'x') +
                           Member("a", std::string(700, 'a')) + Member("b", "bb") + end_;
  for (size_t size = 0; size < good.size() - 1024; size += 17) {
    try {
      const auto tar = Open(good.substr(0, size));
      for (const auto& [name, bytes] : tar->members()) {
        EXPECT_LE(bytes.size(), size) << name;
      }
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("a.tar"));
    }
  }
}

}  // namespace
}  // namespace rondo
