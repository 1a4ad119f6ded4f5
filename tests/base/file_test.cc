#include "base/file.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <fstream>
#include <vector>

#include "base/file_size_limit.h"
#include "base/temp_dir.h"
#include "rondo/error.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

void Put(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

std::vector<std::string> Names(const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) {
    names.push_back(entry.path().filename().string());
  }
  return names;
}

TEST(MappedFile, MapsContentsAndEmptyFiles) {
  TempDir dir;
  Put(dir.File("a"), "abc");
  Put(dir.File("empty"), "");
  EXPECT_EQ(MappedFile::Open(dir.File("a"))->bytes().size(), 3u);
  EXPECT_EQ(MappedFile::Open(dir.File("empty"))->bytes().size(), 0u);
  EXPECT_EQ(ReadTextFile(dir.File("a")), "abc");
  EXPECT_EQ(ReadTextFile(dir.File("empty")), "");
}

TEST(MappedFile, MissingFilesDirectoriesAndLargeTextsAreErrorsNamingTheFile) {
  TempDir dir;
  Put(dir.File("a"), "abc");
  EXPECT_THAT([&] { MappedFile::Open(dir.File("missing")); },
              ThrowsMessage<Error>(AllOf(HasSubstr("missing"), HasSubstr("No such file"))));
  EXPECT_THAT([&] { MappedFile::Open(dir.File("")); },
              ThrowsMessage<Error>(HasSubstr("directory")));
  EXPECT_THAT([&] { ReadTextFile(dir.File("a"), 2); }, ThrowsMessage<Error>(HasSubstr("3 bytes")));
}

size_t OpenDescriptors() { return Names("/proc/self/fd").size(); }

TEST(SyncPath, TakesFilesAndDirectoriesAndClosesWhatCannotBeSynced) {
  TempDir dir;
  Put(dir.File("a"), "abc");
  SyncPath(dir.File("a"));
  SyncPath(dir.File(""));
  const size_t open = OpenDescriptors();
  for (int i = 0; i < 3; ++i) {
    EXPECT_THAT([] { SyncPath("/proc/self/status"); },
                ThrowsMessage<Error>(AllOf(HasSubstr("/proc/self/status"), HasSubstr("sync"))));
  }
  EXPECT_EQ(OpenDescriptors(), open);
  EXPECT_THAT([&] { SyncPath(dir.File("missing")); },
              ThrowsMessage<Error>(AllOf(HasSubstr("missing"), HasSubstr("open"))));
}

TEST(AtomicFile, AppearsOnlyWithCommit) {
  TempDir dir;
  AtomicFile file(dir.File("a"));
  file.Write("new");
  EXPECT_FALSE(fs::exists(dir.File("a")));
  EXPECT_EQ(file.written(), 3u);
  file.Commit();
  EXPECT_EQ(ReadTextFile(dir.File("a")), "new");
  EXPECT_THAT(Names(dir.File("")), testing::ElementsAre("a"));
}

TEST(AtomicFile, WhatIsUnderWayIsKnownByItsName) {
  TempDir dir;
  AtomicFile file(dir.File("a.json"));
  file.Write("text");
  EXPECT_TRUE(IsTemporaryPath(dir.File(Names(dir.File("")).front())));
  file.Commit();
  EXPECT_FALSE(IsTemporaryPath(dir.File("a.json")));
  EXPECT_FALSE(IsTemporaryPath("a.tmp-1/b"));
}

TEST(AtomicFile, WithoutCommitTheOldContentStaysAndNothingElseIsLeft) {
  TempDir dir;
  Put(dir.File("a"), "old");
  { AtomicFile(dir.File("a")).Write("half of the new"); }
  EXPECT_EQ(ReadTextFile(dir.File("a")), "old");
  EXPECT_THAT(Names(dir.File("")), testing::ElementsAre("a"));
}

TEST(AtomicFile, FullDiskIsAnErrorAndKeepsTheOldContent) {
  TempDir dir;
  Put(dir.File("a"), "old");
  const std::string large(1 << 20, 'x');
  const auto write = [&] {
    AtomicFile file(dir.File("a"));
    file.Write(large);
    file.Commit();
  };
  {
    FileSizeLimit limit(4096);
    EXPECT_THAT(write, ThrowsMessage<Error>(AllOf(HasSubstr("cannot write"), HasSubstr("/a"))));
  }
  EXPECT_EQ(ReadTextFile(dir.File("a")), "old");
  EXPECT_THAT(Names(dir.File("")), testing::ElementsAre("a"));
  write();
  EXPECT_EQ(ReadTextFile(dir.File("a")), large);
}

TEST(AtomicFile, FullDiskNoticedOnlyAtCommitKeepsTheOldContent) {
  TempDir dir;
  Put(dir.File("a"), "old");
  {
    FileSizeLimit limit(10);
    AtomicFile file(dir.File("a"));
    file.Write("more than ten bytes, still in the buffer");
    EXPECT_THROW(file.Commit(), Error);
  }
  EXPECT_EQ(ReadTextFile(dir.File("a")), "old");
  EXPECT_THAT(Names(dir.File("")), testing::ElementsAre("a"));
}

TEST(AtomicFile, UnwritablePlacesAreErrorsAndLeaveNothing) {
  TempDir dir;
  EXPECT_THAT([&] { AtomicFile file(dir.File("no/such/a")); },
              ThrowsMessage<Error>(HasSubstr("no/such/a")));
  fs::create_directory(dir.File("taken"));
  Put(dir.File("taken/x"), "");
  const auto write = [&] { AtomicFile(dir.File("taken")).Commit(); };
  EXPECT_THAT(write, ThrowsMessage<Error>(HasSubstr("cannot replace")));
  EXPECT_THAT(Names(dir.File("")), testing::ElementsAre("taken"));
}

TEST(MappedFile, PipesAndDevicesAreRefusedAtOnce) {
  TempDir dir;
  ASSERT_EQ(mkfifo(dir.File("pipe").c_str(), 0600), 0);
  EXPECT_THAT([&] { MappedFile::Open(dir.File("pipe")); },
              ThrowsMessage<Error>(AllOf(HasSubstr("is a pipe"), HasSubstr("regular file"))));
  EXPECT_THAT([&] { MappedFile::Open("/dev/zero"); }, ThrowsMessage<Error>(HasSubstr("a device")));
}

TEST(Paths, NamesThatTheFileSystemRefusesAreErrors) {
  const std::string name(300, 'x');
  EXPECT_THAT([&] { PathExists(name); }, ThrowsMessage<Error>(HasSubstr("File name too long")));
  EXPECT_THAT([&] { IsDirectory(name); }, ThrowsMessage<Error>(HasSubstr(name)));
  EXPECT_THAT([&] { AtomicFile file(name); }, ThrowsMessage<Error>(HasSubstr("too long")));
  EXPECT_THAT([&] { MappedFile::Open(name); }, ThrowsMessage<Error>(HasSubstr("too long")));
  EXPECT_THAT([&] { ListDirectory("/nothing/here"); }, ThrowsMessage<Error>(HasSubstr("list")));
  EXPECT_FALSE(PathExists("/nothing/here"));
}

TEST(Paths, TheLongestNameOfAFileCanBeWritten) {
  TempDir dir;
  const std::string name(255, 'y');
  WriteTextFile(dir.File(name), "text");
  EXPECT_EQ(ReadTextFile(dir.File(name)), "text");
}

}  // namespace
}  // namespace rondo
