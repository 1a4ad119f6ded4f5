#include "base/byte_source.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "base/compressed.h"
#include "base/rng.h"
#include "base/temp_dir.h"
#include "rondo/error.h"

namespace rondo {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

std::string ReadAll(const std::string& path, size_t piece = 1000) {
  const auto source = OpenBytes(path);
  std::string text;
  std::vector<char> buffer(piece);
  while (const size_t size = source->Read(buffer)) text.append(buffer.data(), size);
  EXPECT_EQ(source->Read(buffer), 0u);
  return text;
}

// Words that compress somewhat, more than any buffer on the way.
std::string LongText() {
  Rng rng(5);
  std::string text;
  while (text.size() < 3'000'000) text += "word" + std::to_string(rng.Next() % 100000) + " ";
  return text;
}

TEST(ByteSource, ReadsPlainAndCompressedFilesInAnyPieces) {
  TempDir dir;
  const std::string text = LongText();
  Put(dir.File("a.txt"), text);
  Put(dir.File("a.txt.xz"), Xz(text));
  Put(dir.File("a.txt.zst"), Zstd(text));
  Put(dir.File("a.txt.gz"), Gzip(text));
  Put(dir.File("a.txt.bz2"), Bzip2(text));
  for (const char* name : {"a.txt", "a.txt.xz", "a.txt.zst", "a.txt.gz", "a.txt.bz2"}) {
    for (const size_t piece : {size_t{777}, size_t{1} << 22}) {
      EXPECT_TRUE(ReadAll(dir.File(name), piece) == text) << name << " " << piece;
    }
  }
  EXPECT_EQ(ReadAll(dir.File("a.txt.xz"), 1 << 20).size(), text.size());
}

TEST(ByteSource, ReadsSeveralStreamsBehindEachOtherAndEmptyOnes) {
  TempDir dir;
  for (const auto& [name, pack] : {std::pair{"a.xz", &Xz}, std::pair{"a.zst", &Zstd},
                                   std::pair{"a.gz", &Gzip}, std::pair{"a.bz2", &Bzip2}}) {
    Put(dir.File(name), pack("one ") + pack("") + pack("two"));
    EXPECT_EQ(ReadAll(dir.File(name), 1), "one two") << name;
    Put(dir.File(name), pack(""));
    EXPECT_EQ(ReadAll(dir.File(name)), "") << name;
  }
}

TEST(ByteSource, ContentTellsThePacking) {
  TempDir dir;
  for (const auto& pack : {&Xz, &Zstd, &Gzip, &Bzip2}) {
    for (const char* name : {"a", "a.txt", "a.xz", "a.gz"}) {
      Put(dir.File(name), pack("some text"));
      EXPECT_EQ(ReadAll(dir.File(name)), "some text") << name;
    }
  }
  EXPECT_EQ(WithoutPacking("a/b.tsv.gz"), "a/b.tsv");
  EXPECT_EQ(WithoutPacking("a.jsonl.bz2"), "a.jsonl");
  EXPECT_EQ(WithoutPacking("a.jsonl"), "a.jsonl");
}

TEST(ByteSource, EveryCutIsAnError) {
  TempDir dir;
  const std::string text = LongText().substr(0, 5000);
  for (const auto& [name, packed] :
       {std::pair{"a.xz", Xz(text)}, std::pair{"a.zst", Zstd(text)}, std::pair{"a.gz", Gzip(text)},
        std::pair{"a.bz2", Bzip2(text)}}) {
    for (size_t size = 0; size < packed.size(); size += size < 32 ? 1 : 97) {
      const std::string path = dir.File(name);
      Put(path, packed.substr(0, size));
      EXPECT_THAT([&] { ReadAll(path); },
                  ThrowsMessage<Error>(AllOf(HasSubstr(name), HasSubstr("ends too early"))))
          << size;
    }
  }
}

TEST(ByteSource, WhatTheNamePromisesMustBeInside) {
  TempDir dir;
  struct Case {
    const char* name;
    std::string bytes;
    const char* message;
  };
  std::string damaged_xz = Xz(LongText()), damaged_zst = Zstd(LongText());
  std::string damaged_gz = Gzip(LongText()), damaged_bz2 = Bzip2(LongText());
  damaged_gz[damaged_gz.size() / 2] ^= 0x10;
  damaged_bz2[damaged_bz2.size() / 2] ^= 0x10;
  damaged_xz[damaged_xz.size() / 2] ^= 0x10;
  damaged_zst[damaged_zst.size() / 2] ^= 0x10;
  for (const Case& c : std::vector<Case>{
           {"a.xz", "plain text, long enough for a header", "not an xz file"},
           {"a.zst", "plain text, long enough for a header", "not a zstd file"},
           {"a.gz", "plain text, long enough for a header", "gzip"},
           {"a.bz2", "plain text, long enough for a header", "bzip2"},
           {"a.gz", Gzip("text") + "garbage garbage", "damaged gzip data"},
           {"a.bz2", Bzip2("text") + "garbage garbage", "damaged bzip2 data"},
           {"a.gz", damaged_gz, "damaged gzip data"},
           {"a.bz2", damaged_bz2, "damaged bzip2 data"},
           {"a.xz", Xz("text") + "garbage garbage", "xz"},
           {"a.zst", Zstd("text") + "garbage garbage", "damaged zstd data"},
           {"a.xz", damaged_xz, "damaged xz data"},
           {"a.zst", damaged_zst, "damaged zstd data"},
       }) {
    Put(dir.File(c.name), c.bytes);
    EXPECT_THAT([&] { ReadAll(dir.File(c.name)); },
                ThrowsMessage<Error>(AllOf(HasSubstr(c.name), HasSubstr(c.message))));
  }
  EXPECT_THAT([&] { ReadAll(dir.File("missing.xz")); },
              ThrowsMessage<Error>(AllOf(HasSubstr("missing.xz"), HasSubstr("No such file"))));
  EXPECT_THAT([&] { ReadAll(dir.File("")); }, ThrowsMessage<Error>(HasSubstr("directory")));
}

// Writes to a pipe in little pieces, from a thread of its own.
class Writer {
 public:
  Writer(int descriptor, std::string bytes)
      : thread_([descriptor, bytes = std::move(bytes)] {
          for (size_t at = 0; at < bytes.size(); at += 1000) {
            const std::string piece = bytes.substr(at, 1000);
            EXPECT_EQ(write(descriptor, piece.data(), piece.size()), std::ssize(piece));
          }
          close(descriptor);
        }) {}
  ~Writer() { thread_.join(); }

 private:
  std::thread thread_;
};

TEST(ByteSource, ReadsPipesPlainAndCompressed) {
  const std::string text = LongText();
  for (const std::string& bytes : {text, Gzip(text), Zstd(text), std::string("short")}) {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    const std::string expected = bytes.size() < 10 ? bytes : text;
    const Writer writer(ends[1], bytes);
    // As `<(command)` names it.
    EXPECT_EQ(ReadAll("/dev/fd/" + std::to_string(ends[0])), expected);
    close(ends[0]);
  }
}

TEST(ByteSource, WaitsForAWriterThatHasNotWrittenYet) {
  TempDir dir;
  ASSERT_EQ(mkfifo(dir.File("pipe").c_str(), 0600), 0);
  const int end = open(dir.File("pipe").c_str(), O_RDWR);
  std::thread writer([end] {
    usleep(100'000);
    EXPECT_EQ(write(end, "late", 4), 4);
    close(end);
  });
  EXPECT_EQ(ReadAll(dir.File("pipe")), "late");
  writer.join();
}

TEST(ByteSource, APipeWithoutAWriterIsAnErrorAtOnce) {
  TempDir dir;
  ASSERT_EQ(mkfifo(dir.File("pipe").c_str(), 0600), 0);
  EXPECT_THAT([&] { OpenBytes(dir.File("pipe")); },
              ThrowsMessage<Error>(AllOf(HasSubstr("pipe"), HasSubstr("nobody writes"))));
}

TEST(ByteSource, ADashIsStandardInput) {
  const int kept = dup(STDIN_FILENO);
  for (const char* name : {"-", "/dev/stdin"}) {
    for (const std::string& bytes : {std::string(), std::string("some text"), Xz("some text")}) {
      int ends[2];
      ASSERT_EQ(pipe(ends), 0);
      ASSERT_EQ(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
      close(ends[0]);
      const Writer writer(ends[1], bytes);
      EXPECT_EQ(ReadAll(name), bytes.empty() ? "" : "some text");
    }
  }
  dup2(kept, STDIN_FILENO);
  close(kept);
}

}  // namespace
}  // namespace rondo
