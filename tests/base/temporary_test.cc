#include "base/temporary.h"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <vector>

#include "base/file.h"
#include "base/temp_dir.h"

namespace rondo {
namespace {

using Kind = Temporary::Kind;

// Runs `work` in a process that is then killed.
template <typename Work>
void InKilledProcess(const Work& work) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    work();
    kill(getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
}

TEST(Temporary, IsGoneWithItsObject) {
  TempDir dir;
  {
    const Temporary file(dir.File("a"), Kind::kFile);
    const Temporary folder(dir.File("b"), Kind::kDirectory);
    EXPECT_TRUE(IsRegularFile(file.path()));
    EXPECT_TRUE(IsDirectory(folder.path()));
    EXPECT_TRUE(IsTemporaryPath(file.path()));
  }
  EXPECT_TRUE(ListDirectory(dir.File("")).empty());
}

TEST(Temporary, TheNextWriterRemovesWhatAKilledOneLeft) {
  TempDir dir;
  InKilledProcess([&] {
    new Temporary(dir.File("a"), Kind::kFile);
    auto* folder = new Temporary(dir.File("a"), Kind::kDirectory);
    WriteTextFile(folder->path() + "/half", "text");
    new Temporary(dir.File("ab"), Kind::kFile);
  });
  EXPECT_EQ(ListDirectory(dir.File("")).size(), 3u);
  const Temporary next(dir.File("a"), Kind::kFile);
  EXPECT_EQ(ListDirectory(dir.File("")).size(), 2u) << "its own and that of another target";
}

TEST(Temporary, WritersToOnePlaceLeaveEachOtherAlone) {
  TempDir dir;
  const Temporary first(dir.File("a"), Kind::kFile), second(dir.File("a"), Kind::kFile);
  EXPECT_TRUE(PathExists(first.path()));
  EXPECT_NE(first.path(), second.path());
}

}  // namespace
}  // namespace rondo
