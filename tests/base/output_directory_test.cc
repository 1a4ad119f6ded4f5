#include <gmock/gmock.h>

#include <fstream>
#include <vector>

#include "base/file.h"
#include "base/temp_dir.h"
#include "rondo/error.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

void Put(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

std::vector<std::string> Names(const std::string& directory) {
  std::vector<std::string> names;
  for (const fs::path& path : ListDirectory(directory)) names.push_back(path.filename().string());
  return names;
}

// A directory as rondo writes it, with a file in a folder of its own.
void Write(const std::string& path, const std::string& text, const OutputRules& rules = {}) {
  AtomicDirectory target(path, rules);
  Put(target.path() + "/config.json", text);
  fs::create_directory(target.path() + "/parts");
  Put(target.path() + "/parts/a", text);
  target.Commit();
}

TEST(AtomicDirectory, ReplacesWhatRondoWrote) {
  TempDir dir;
  for (const std::string text : {"one", "two"}) {
    AtomicDirectory target(dir.File("m/"));
    Put(target.path() + "/config.json", text);
    if (text == "one") Put(target.path() + "/only-in-one", "");
    target.Commit();
    EXPECT_EQ(ReadTextFile(dir.File("m/config.json")), text);
  }
  EXPECT_THAT(Names(dir.File("m")), ElementsAre(".rondo-files", "config.json"));
  EXPECT_THAT(Names(dir.File("")), ElementsAre("m"));
}

TEST(AtomicDirectory, TakesAnEmptyDirectory) {
  TempDir dir;
  fs::create_directory(dir.File("m"));
  Write(dir.File("m"), "text");
  EXPECT_EQ(ReadTextFile(dir.File("m/parts/a")), "text");
}

TEST(AtomicDirectory, WithoutCommitTheOldDirectoryStays) {
  TempDir dir;
  Write(dir.File("m"), "old");
  {
    AtomicDirectory target(dir.File("m"));
    Put(target.path() + "/config.json", "new");
  }
  EXPECT_EQ(ReadTextFile(dir.File("m/config.json")), "old");
  EXPECT_THAT(Names(dir.File("")), ElementsAre("m"));
}

TEST(AtomicDirectory, AFailingCommitKeepsTheOldDirectory) {
  TempDir dir;
  Write(dir.File("m"), "old");
  {
    AtomicDirectory target(dir.File("m"));
    fs::remove_all(target.path());
    EXPECT_ANY_THROW(target.Commit());
  }
  EXPECT_EQ(ReadTextFile(dir.File("m/config.json")), "old");
}

TEST(AtomicDirectory, RefusesADirectoryWithFilesOfOthers) {
  TempDir dir;
  fs::create_directory(dir.File("site"));
  Put(dir.File("site/config.json"), "{}");
  Put(dir.File("site/main.c"), "int main;");
  Put(dir.File("file"), "text");
  EXPECT_THAT([&] { AtomicDirectory target(dir.File("site/")); },
              ThrowsMessage<Error>(AllOf(HasSubstr("main.c"), HasSubstr("--force"))));
  EXPECT_THAT([&] { AtomicDirectory target(dir.File("file")); },
              ThrowsMessage<Error>(HasSubstr("is a file")));
  EXPECT_THAT(Names(dir.File("site")), ElementsAre("config.json", "main.c"));
}

TEST(AtomicDirectory, RefusesWhatWasAddedOrChangedInADirectoryOfItsOwn) {
  TempDir dir;
  const std::string m = dir.File("m");
  for (const std::string name : {"my-notes.txt", "keep/deep/x", "config.json", "parts/b"}) {
    fs::remove_all(m);
    Write(m, "old");
    fs::create_directories(fs::path(dir.File("m/" + name)).parent_path());
    Put(dir.File("m/" + name), "a text of the user");
    EXPECT_THAT([&] { Write(m, "new"); },
                ThrowsMessage<Error>(HasSubstr(name.substr(0, name.find("/d")))));
    EXPECT_EQ(ReadTextFile(dir.File("m/" + name)), "a text of the user");
  }
}

TEST(AtomicDirectory, RefusesAtTheEndWhatCameWhileItWasWritten) {
  TempDir dir;
  Write(dir.File("m"), "old");
  AtomicDirectory target(dir.File("m"));
  Put(target.path() + "/config.json", "new");
  Put(dir.File("m/late.txt"), "just written");
  EXPECT_THAT([&] { target.Commit(); }, ThrowsMessage<Error>(HasSubstr("late.txt")));
  EXPECT_EQ(ReadTextFile(dir.File("m/config.json")), "old");
}

TEST(AtomicDirectory, ForceReplacesAll) {
  TempDir dir;
  fs::create_directory(dir.File("m"));
  Put(dir.File("m/notes.txt"), "notes");
  EXPECT_THAT(ForeignFiles(dir.File("m")), ElementsAre("notes.txt"));
  Write(dir.File("m"), "new", {.inputs = {}, .force = true});
  EXPECT_THAT(Names(dir.File("m")), ElementsAre(".rondo-files", "config.json", "parts"));
}

TEST(OutputRules, TheInputIsNeverReplaced) {
  TempDir dir;
  Write(dir.File("model"), "weights");
  fs::create_directory_symlink(dir.File("model"), dir.File("link"));
  const OutputRules rules = {.inputs = {dir.File("model")}, .force = true};
  for (const char* name : {"model", "model/", "link", "./model/../model", "model/inside", ""}) {
    EXPECT_THROW(AtomicDirectory(dir.File(name), rules), Error) << name;
  }
  const OutputRules file = {.inputs = {dir.File("model/config.json")}, .force = true};
  EXPECT_THAT([&] { AtomicDirectory target(dir.File("model"), file); },
              ThrowsMessage<Error>(HasSubstr("holds the input")));
  EXPECT_THROW(CheckOutputFile(dir.File("model/config.json"), file), Error);
  EXPECT_THROW(CheckOutputFile(dir.File("link/config.json"), file), Error);
  EXPECT_NO_THROW(CheckOutputFile(dir.File("model/new.gguf"), rules));
  EXPECT_EQ(ReadTextFile(dir.File("model/config.json")), "weights");
}

TEST(OutputRules, AHardLinkToTheInputIsTheInput) {
  TempDir dir;
  Put(dir.File("a.gguf"), "weights");
  fs::create_hard_link(dir.File("a.gguf"), dir.File("b.gguf"));
  const OutputRules rules = {.inputs = {dir.File("a.gguf")}, .force = true};
  EXPECT_THAT([&] { CheckOutputFile(dir.File("b.gguf"), rules); },
              ThrowsMessage<Error>(HasSubstr("is the input")));
}

TEST(CheckRoom, SaysWhatIsFreeAndLeavesNothing) {
  TempDir dir;
  EXPECT_NO_THROW(CheckRoom(dir.File("out"), /*directory=*/true, 1 << 20));
  EXPECT_THAT([&] { CheckRoom(dir.File("out"), /*directory=*/false, uint64_t{1} << 60); },
              ThrowsMessage<Error>(AllOf(HasSubstr("MB are free"), HasSubstr("1152921504607 MB"))));
  EXPECT_THAT([&] { CheckRoom(dir.File("no/x.gguf"), /*directory=*/false, 0); },
              ThrowsMessage<Error>(HasSubstr("no/x.gguf")));
  EXPECT_TRUE(ListDirectory(dir.File("")).empty());
}

}  // namespace
}  // namespace rondo
