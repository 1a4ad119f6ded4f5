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
  refuses("a.csv", "one,x\n", "line 1: 1 columns");
  refuses("a.json", "[{\"audio\": \"one.wav\"}]\n", "line 1: a JSON array");
  refuses("a.tsv", "path\tsentence\nthree\ty\n", "line 2: no audio 'three'");
  refuses("a.tsv", "path\tsentence\none.wav\n", "line 2: 1 columns");
  refuses("a.jsonl", "{\"audio_filepath\": \"one.wav\", \"offset\": 2.5}\n", "line 1: offset");
  refuses("a.jsonl", "{\"audio\": \"one.wav\", \"txt\": \"a\"}\n", "line 1: txt");
  refuses("a.jsonl", "{\"text\": \"a\"}\n", "line 1: audio");
  refuses("a.jsonl", "{\"audio\": 3}\n", "line 1: audio");
  refuses("a.jsonl", "oops\n", "line 1");
}

TEST_F(ManifestFiles, NamesOfColumnsAreThoseOfCommonVoice) {
  std::filesystem::create_directory(dir_.File("clips"));
  WriteTextFile(dir_.File("clips/c1.mp3"), Wav({1, 2, 3}, 16000));
  const auto lines = Read("validated.tsv",
                          "client_id\tpath\tsentence\tup_votes\tlocale\n"
                          "0a1b\tc1.mp3\tThe kettle sang.\t2\ten\n"
                          "0a1b\tone\tRain.\t2\ten\n");
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].audio, dir_.File("clips/c1.mp3"));
  EXPECT_EQ(lines[0].text, "The kettle sang.");
  EXPECT_EQ(lines[0].translation, "");
  EXPECT_EQ(lines[1].audio, dir_.File("one.wav"));
  const auto translated = Read("covost.tsv", "Path\tTranslation\tSentence\nclips/c1.mp3\tb\ta\n");
  EXPECT_EQ(translated[0].translation, "b");
  EXPECT_EQ(translated[0].text, "a");
}

TEST_F(ManifestFiles, RecordsOfNemoAreRead) {
  const std::string record =
      R"({"audio_filepath": "one.wav", "duration": 0.5, "text": "said this", "lang": "en"})";
  for (const char* name : {"manifest.json", "manifest.jsonl", "MANIFEST.JSON"}) {
    const auto lines = Read(name, record + "\n");
    ASSERT_EQ(lines.size(), 1u);
    EXPECT_EQ(lines[0].audio, dir_.File("one.wav"));
    EXPECT_EQ(lines[0].text, "said this");
  }
}

TEST_F(ManifestFiles, NamesMayBeInCapitalsAndInFolders) {
  for (const char* folder : {"TRAIN/DR1/FCJF0", "TRAIN/DR1/FDAW0", "TRAIN/DR2"}) {
    std::filesystem::create_directories(dir_.File(folder));
  }
  const auto write = [&](const char* name) { WriteTextFile(dir_.File(name), Wav({1}, 16000)); };
  for (const char* name : {"SX37.WAV", "Three.FLAC", "TRAIN/DR1/FCJF0/SA1.WAV",
                           "TRAIN/DR1/FDAW0/SA1.WAV", "TRAIN/DR2/SI9.Mp3"}) {
    write(name);
  }
  const auto found = [&](const std::string& id) {
    return Read("TEST.TSV", id + "\twords\n").front().audio;
  };
  EXPECT_EQ(found("SX37"), dir_.File("SX37.WAV"));
  EXPECT_EQ(found("sx37.wav"), dir_.File("SX37.WAV"));
  EXPECT_EQ(found("three"), dir_.File("Three.FLAC"));
  EXPECT_EQ(found("SI9"), dir_.File("TRAIN/DR2/SI9.Mp3"));
  EXPECT_EQ(found("FDAW0/SA1"), dir_.File("TRAIN/DR1/FDAW0/SA1.WAV"));
  EXPECT_EQ(found("dr1\\fcjf0\\sa1.wav"), dir_.File("TRAIN/DR1/FCJF0/SA1.WAV"));
  EXPECT_EQ(found("./TRAIN/DR1/FCJF0/SA1.WAV"), dir_.File("TRAIN/DR1/FCJF0/SA1.WAV"));
  EXPECT_THAT([&] { found("SA1"); }, ThrowsMessage<Error>(HasSubstr("line 1: 'SA1' may be")));
  // Capitals tell two files apart.
  write("sx37.wav");
  EXPECT_EQ(found("SX37"), dir_.File("SX37.WAV"));
  EXPECT_EQ(found("sx37"), dir_.File("sx37.wav"));
}

}  // namespace
}  // namespace rondo
