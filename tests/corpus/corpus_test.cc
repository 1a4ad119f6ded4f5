#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <vector>

#include "base/compressed.h"
#include "base/file.h"
#include "base/rng.h"
#include "base/temp_dir.h"
#include "corpus/token_data.h"
#include "engine/letter_tokenizer.h"
#include "rondo/error.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr int32_t kEos = 25;  // of LetterTokenizer

std::shared_ptr<const Tokenizer> Stories() {
  return LoadTokenizer(std::string(RONDO_TEST_DATA) + "/models/stories260K/tok512.bin");
}

// `count` lines of random lower-case words.
std::string Lines(int count, uint64_t seed) {
  Rng rng(seed);
  std::string text;
  for (int i = 0; i < count; ++i) {
    for (uint64_t letters = 5 + rng.Next() % 60; letters > 0; --letters) {
      text += static_cast<char>('a' + rng.Next() % 25);
    }
    text += '\n';
  }
  return text;
}

std::vector<std::vector<int32_t>> Documents(const TokenData& data) {
  std::vector<std::vector<int32_t>> documents;
  for (int64_t i = 0; i < data.documents(); ++i) {
    documents.emplace_back(static_cast<size_t>(data.DocumentEnd(i) - data.DocumentBegin(i)));
    data.Read(data.DocumentBegin(i), documents.back());
  }
  return documents;
}

class Corpus : public testing::Test {
 protected:
  TokenSplit Open(CorpusOptions options, const Tokenizer& tokenizer = LetterTokenizer(),
                  int threads = 2) {
    for (std::string& file : options.files) file = dir_.File(file);
    options.unit = DocumentUnit::kLine;
    ThreadPool pool(threads);
    return OpenCorpus(options, tokenizer, dir_.File("cache"), pool);
  }
  // Shard files with the time they were written.
  std::set<std::pair<std::string, fs::file_time_type>> Cache() {
    std::set<std::pair<std::string, fs::file_time_type>> files;
    for (const auto& entry : fs::directory_iterator(dir_.File("cache"))) {
      const std::string name = entry.path().filename().string();
      if (name != "lock") files.insert({name, entry.last_write_time()});
    }
    return files;
  }
  TempDir dir_;
};

TEST_F(Corpus, KeepsDocumentsApartAndInOrder) {
  Put(dir_.File("a.txt"), "abc\n\nde\n");
  Put(dir_.File("b.jsonl"), "{\"text\": \"f\"}\n{\"text\": \"gh\"}");
  const TokenSplit split = Open({.files = {"b.jsonl", "a.txt"}});
  EXPECT_THAT(Documents(*split.train),
              ElementsAre(ElementsAre(5, kEos), ElementsAre(6, 7, kEos), ElementsAre(0, 1, 2, kEos),
                          ElementsAre(3, 4, kEos)));
  EXPECT_EQ(split.train->tokens(), 12);
  EXPECT_EQ(split.held_out->documents(), 0);
  EXPECT_THAT(split.train->Tokens(4), ElementsAre(5, kEos, 6, 7));
  EXPECT_EQ(split.train->Tokens().size(), 12u);
  EXPECT_EQ(split.train->DocumentAt(1), 0);
  EXPECT_EQ(split.train->DocumentAt(2), 1);
  EXPECT_EQ(split.train->vocab_size(), 26);
  std::vector<int32_t> three(3);
  EXPECT_THAT([&] { split.train->Read(10, three); },
              ThrowsMessage<Error>(HasSubstr("3 tokens from position 10")));
}

TEST_F(Corpus, FramesDocumentsAsAsked) {
  const auto tokenizer = Stories();
  Put(dir_.File("a.txt"), "Once upon a time\n");
  const auto open = [&](bool special, bool eos) {
    return Open({.files = {"a.txt"}, .add_special = special, .append_eos = eos}, *tokenizer)
        .train->Tokens();
  };
  const std::vector<int32_t> bare = open(false, false);
  EXPECT_EQ(bare, tokenizer->Encode("Once upon a time", {.add_special = false}));
  std::vector<int32_t> framed = bare;
  framed.insert(framed.begin(), tokenizer->bos());
  EXPECT_EQ(open(true, false), framed);
  framed.push_back(tokenizer->eos().front());
  EXPECT_EQ(open(true, true), framed);
}

TEST_F(Corpus, AnyNumberOfThreadsPacksTheSameBytes) {
  Put(dir_.File("a.txt"), Lines(3000, 1));
  std::vector<std::string> shards;
  for (const int threads : {1, 2, 5}) {
    Open({.files = {"a.txt"}}, *Stories(), threads);
    std::string all;
    for (const auto& [name, time] : Cache()) all += ReadTextFile(dir_.File("cache/" + name));
    shards.push_back(all);
    fs::remove_all(dir_.File("cache"));
  }
  EXPECT_GT(shards[0].size(), 100'000u);
  EXPECT_TRUE(shards[0] == shards[1] && shards[0] == shards[2]);
}

TEST_F(Corpus, PacksAFileOnceUntilItOrTheOptionsChange) {
  Put(dir_.File("a.txt"), "abc\n");
  Put(dir_.File("b.txt"), "def\n");
  Open({.files = {"a.txt"}});
  const auto one = Cache();
  EXPECT_EQ(one.size(), 2u);
  Open({.files = {"a.txt"}, .held_out_seed = 3});
  EXPECT_EQ(Cache(), one);
  Open({.files = {"a.txt", "b.txt"}});
  EXPECT_EQ(Cache().size(), 4u);
  Open({.files = {"a.txt"}, .append_eos = false});
  EXPECT_EQ(Cache().size(), 6u);
  Open({.files = {"a.txt"}, .field = "body"});  // means nothing for text
  EXPECT_EQ(Cache().size(), 6u);
  Put(dir_.File("a.txt"), "abd\n");
  EXPECT_THAT(Open({.files = {"a.txt"}}).train->Tokens(), ElementsAre(0, 1, 3, kEos));
  EXPECT_EQ(Cache().size(), 8u);
  Open({.files = {"b.txt"}}, *Stories());
  EXPECT_EQ(Cache().size(), 10u);
}

TEST_F(Corpus, FingerprintIsOfTheDataAndNotOfItsPlace) {
  Put(dir_.File("a.txt"), "abc\ndef\n");
  Put(dir_.File("same.txt"), "abc\ndef\n");
  Put(dir_.File("other.txt"), "abc\ndeg\n");
  const uint64_t a = Open({.files = {"a.txt"}}).train->fingerprint();
  EXPECT_EQ(Open({.files = {"same.txt"}}).train->fingerprint(), a);
  EXPECT_NE(Open({.files = {"other.txt"}}).train->fingerprint(), a);
  EXPECT_NE(Open({.files = {"a.txt"}, .append_eos = false}).train->fingerprint(), a);
}

TEST_F(Corpus, HoldsOutAShareOfDocumentsWhateverTheirOrder) {
  const std::string first = Lines(2000, 2), second = Lines(2000, 3);
  Put(dir_.File("a.txt"), first + second);
  Put(dir_.File("b.txt"), second + first);
  const auto held_out = [&](const char* file, uint64_t seed) {
    const TokenSplit split = Open({.files = {file}, .held_out = 0.1, .held_out_seed = seed});
    EXPECT_EQ(split.train->documents() + split.held_out->documents(), 4000);
    auto train = Documents(*split.train), out = Documents(*split.held_out);
    std::set<std::vector<int32_t>> both(train.begin(), train.end());
    for (const auto& document : out) EXPECT_FALSE(both.contains(document));
    return std::set(out.begin(), out.end());
  };
  const auto out = held_out("a.txt", 0);
  // Five standard deviations of a binomial with 4000 draws at 0.1.
  EXPECT_NEAR(static_cast<double>(out.size()), 400, 5 * 19);
  EXPECT_EQ(held_out("b.txt", 0), out);
  EXPECT_NE(held_out("a.txt", 1), out);
}

TEST_F(Corpus, HoldsOutANumberOfDocumentsWithTheirDuplicates) {
  Put(dir_.File("a.txt"), Lines(500, 4));
  Put(dir_.File("twice.txt"), Lines(500, 4) + Lines(500, 4));
  const TokenSplit split = Open({.files = {"a.txt"}, .held_out_documents = 7});
  EXPECT_EQ(split.held_out->documents(), 7);
  EXPECT_EQ(split.train->documents(), 493);
  EXPECT_EQ(Open({.files = {"twice.txt"}, .held_out_documents = 7}).held_out->documents(), 8);
}

TEST_F(Corpus, LargeVocabulariesTakeFourBytes) {
  class Large : public LetterTokenizer {
   public:
    std::vector<int32_t> Encode(std::string_view text,
                                const EncodeOptions& options) const override {
      auto ids = LetterTokenizer::Encode(text, options);
      for (int32_t& id : ids) id += 69000;
      return ids;
    }
    int32_t vocab_size() const override { return 70000; }
  };
  Put(dir_.File("a.txt"), "abc\n");
  EXPECT_THAT(Open({.files = {"a.txt"}}, Large()).train->Tokens(),
              ElementsAre(69000, 69001, 69002, kEos));
}

// A process is killed while it packs, at many moments; the next one packs as if nothing had been.
TEST_F(Corpus, AKilledPackingLeavesNothingHalfDone) {
  Put(dir_.File("a.txt"), Lines(15000, 5));
  int finished = 0;
  for (int delay = 0; delay < 12; ++delay) {
    fs::remove_all(dir_.File("cache"));
    const pid_t child = fork();
    if (child == 0) {
      Open({.files = {"a.txt"}}, *Stories(), 1);
      _exit(0);
    }
    usleep(static_cast<useconds_t>(delay) * 10000);
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    finished += WIFEXITED(status) ? 1 : 0;
    EXPECT_EQ(Open({.files = {"a.txt"}}, *Stories()).train->documents(), 15000);
    EXPECT_EQ(Cache().size(), 2u) << "leftovers after " << delay;
  }
  EXPECT_LT(finished, 12) << "no process was killed in the middle";
}

TEST_F(Corpus, ProcessesThatOpenACorpusTogetherPackItOnce) {
  Put(dir_.File("a.txt"), Lines(5000, 6));
  std::vector<pid_t> children;
  for (int i = 0; i < 4; ++i) {
    children.push_back(fork());
    if (children.back() == 0) {
      bool right = false;
      try {
        right = Open({.files = {"a.txt"}}, *Stories(), 1).train->documents() == 5000;
      } catch (const std::exception&) {
      }
      _exit(right ? 0 : 1);
    }
  }
  for (const pid_t child : children) {
    int status = 1;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  EXPECT_EQ(Cache().size(), 2u);
}

TEST_F(Corpus, FailedPackingNamesTheFileAndLeavesNoShard) {
  struct NoEos : LetterTokenizer {
    std::vector<int32_t> eos() const override { return {}; }
  };
  Put(dir_.File("empty.txt"), "");
  Put(dir_.File("blank.jsonl"), "\n");
  Put(dir_.File("cut.txt.xz"), Xz(Lines(100, 7)).substr(0, 500));
  Put(dir_.File("late.jsonl"), "{\"text\": \"a\"}\n{}\n");
  Put(dir_.File("a.txt"), "a\n");
  for (const auto& [file, message] : {std::pair{"empty.txt", "no document"},
                                      {"blank.jsonl", "no document"},
                                      {"cut.txt.xz", "ends too early"},
                                      {"late.jsonl", "line 2: text: missing"},
                                      {"missing.txt", "No such file"}}) {
    const CorpusOptions options{.files = {file}};
    EXPECT_THAT([&] { Open(options); },
                ThrowsMessage<Error>(AllOf(HasSubstr(file), HasSubstr(message))));
    EXPECT_TRUE(!fs::exists(dir_.File("cache")) || Cache().empty()) << file;
  }
  EXPECT_THAT([&] { Open({.files = {"a.txt"}}, NoEos()); },
              ThrowsMessage<Error>(AllOf(HasSubstr("append_eos"), HasSubstr("end-of-text"))));
}

TEST_F(Corpus, RefusesOptionsThatMakeNoSense) {
  Put(dir_.File("a.txt"), "a\nb\n");
  const auto refused = [&](const CorpusOptions& options, const char* field) {
    EXPECT_THAT([&] { Open(options); }, ThrowsMessage<Error>(HasSubstr(field)));
  };
  refused({.files = {}}, "files");
  refused({.files = {"a.txt"}, .held_out = 1}, "held_out");
  refused({.files = {"a.txt"}, .held_out = -0.1}, "held_out");
  refused({.files = {"a.txt"}, .held_out_documents = -1}, "held_out_documents");
  refused({.files = {"a.txt"}, .held_out_documents = 2}, "held_out_documents");
  refused({.files = {"a.txt"}, .held_out = 0.1, .held_out_documents = 1}, "one of the two");
  Put(dir_.File("file"), "");
  ThreadPool pool(1);
  const CorpusOptions options{.files = {dir_.File("a.txt")}};
  EXPECT_THAT([&] { OpenCorpus(options, LetterTokenizer(), dir_.File("file"), pool); },
              ThrowsMessage<Error>(AllOf(HasSubstr("cache directory"), HasSubstr("/file"))));
  EXPECT_THAT([] { DocumentUnitFromName("lines"); },
              ThrowsMessage<Error>(HasSubstr("did you mean 'line'")));
}

TEST(TokenizerFingerprint, TellsTokenizersApart) {
  struct Other : LetterTokenizer {
    std::vector<int32_t> eos() const override { return {24}; }
  };
  EXPECT_EQ(TokenizerFingerprint(*Stories()), TokenizerFingerprint(*Stories()));
  EXPECT_NE(TokenizerFingerprint(*Stories()), TokenizerFingerprint(LetterTokenizer()));
  EXPECT_NE(TokenizerFingerprint(Other()), TokenizerFingerprint(LetterTokenizer()));
}

}  // namespace
}  // namespace rondo
