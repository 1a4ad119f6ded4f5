#include "speech/manifest.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "audio/wav_file.h"
#include "base/file.h"
#include "base/temp_dir.h"
#include "rondo/audio.h"
#include "rondo/error.h"

namespace rondo {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

const std::string kSpeech = std::string(RONDO_TEST_DATA) + "/speech/";

TEST(Manifest, FindsMembersOfTheArchiveBesideIt) {
  const std::vector<Utterance> lines = ReadManifest(kSpeech + "kathleen.tsv");
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[2].id, "arctic_a0018_1592748134");
  EXPECT_EQ(lines[2].audio, kSpeech + "kathleen.tar:kathleen-en/arctic_a0018_1592748134.opus");
  EXPECT_EQ(lines[2].text, "There was a change now.");
  AudioStore store;
  for (const Utterance& line : lines) EXPECT_GT(store.Read(line.audio, 16000).seconds(), 0.3);
}

class ManifestFiles : public testing::Test {
 protected:
  ManifestFiles() {
    WriteTextFile(dir_.File("one.wav"), Wav({1, 2, 3}, 16000));
    WriteTextFile(dir_.File("two.wav"), Wav({1, 2, 3}, 16000));
  }
  std::vector<Utterance> Read(const std::string& name, const std::string& text,
                              const std::string& audio = {}) {
    WriteTextFile(dir_.File(name), text);
    return ReadManifest(dir_.File(name), audio);
  }
  TempDir dir_;
};

TEST_F(ManifestFiles, TsvNamesFilesWithOrWithoutExtension) {
  const auto lines = Read("a.tsv", "one\tsaid this\tsagte das\r\n\ntwo.wav\tand that\n");
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].translation, "sagte das");
  EXPECT_EQ(lines[0].audio, dir_.File("one.wav"));
  EXPECT_EQ(lines[1].audio, dir_.File("two.wav"));
}

TEST_F(ManifestFiles, JsonlNamesFilesAndMembers) {
  std::filesystem::copy_file(kSpeech + "kathleen.tar", dir_.File("k.tar"));
  const auto lines =
      Read("a.jsonl", R"({"audio": "one.wav", "text": "said \"this\""})"
                      "\n"
                      R"({"id": "k", "audio": "k.tar:kathleen-en/arctic_a0020_1592748103.opus"})");
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].id, "one.wav");
  EXPECT_EQ(lines[0].text, "said \"this\"");
  EXPECT_EQ(lines[1].id, "k");
  EXPECT_GT(AudioStore().Read(lines[1].audio).seconds(), 1);
}

TEST_F(ManifestFiles, ErrorsNameTheLine) {
  const auto refuses = [&](const char* name, const std::string& text, const char* what) {
    EXPECT_THAT([&] { Read(name, text); },
                ThrowsMessage<Error>(AllOf(HasSubstr(name), HasSubstr(what))));
  };
  refuses("a.tsv", "one\tx\nthree\ty\n", "line 2: no audio 'three'");
  refuses("a.tsv", "one\n", "line 1: 1 columns");
  refuses("a.tsv", "one\ta\tb\tc\n", "line 1: 4 columns");
  refuses("a.tsv", "one\tx\none\ty\n", "line 2: id 'one' again");
  refuses("a.tsv", "one\t\xff\n", "line 1: not UTF-8");
  refuses("a.tsv", "\n", "no utterances");
  refuses("a.txt", "one\tx\n", "unknown kind of manifest");
  refuses("a.jsonl", "{\"audio\": \"one.wav\", \"txt\": \"a\"}\n", "line 1: txt");
  refuses("a.jsonl", "{\"text\": \"a\"}\n", "line 1: audio");
  refuses("a.jsonl", "{\"audio\": 3}\n", "line 1: audio");
  refuses("a.jsonl", "oops\n", "line 1");
}

}  // namespace
}  // namespace rondo
