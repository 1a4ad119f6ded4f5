// A lambda does not inherit the instruction set that Highway's pragmas give the function around it:
// without HWY_ATTR its vector code may be compiled for the base set, or refused by the compiler.
#include <gmock/gmock.h>

#include <filesystem>
#include <regex>
#include <string>
#include <vector>

#include "base/file.h"

namespace rondo {
namespace {

// The lambdas without the attribute, between the pragmas' borders.
std::vector<std::string> Bare(const std::string& source) {
  const std::string begin = "HWY_BEFORE_NAMESPACE();", end = "HWY_AFTER_NAMESPACE();";
  const std::regex lambda(
      R"([=(,{ ]\[[&=]?\](?:<[^>]*>)?\s*\([^)]*\)\s*(HWY_ATTR|RONDO_INLINE_LAMBDA)?)");
  std::vector<std::string> bare;
  for (size_t from = source.find(begin); from != source.npos; from = source.find(begin, from + 1)) {
    const std::string part = source.substr(from, source.find(end, from) - from);
    for (std::sregex_iterator it(part.begin(), part.end(), lambda), last; it != last; ++it) {
      if (!(*it)[1].matched) bare.push_back(it->str());
    }
  }
  return bare;
}

TEST(LambdaAttributes, AreFoundMissing) {
  const std::string open = "HWY_BEFORE_NAMESPACE();\n", close = "\nHWY_AFTER_NAMESPACE();\n";
  EXPECT_THAT(Bare(open + "Map([&](int i) HWY_ATTR { f(i); });" + close), testing::IsEmpty());
  EXPECT_THAT(Bare(open + "Map([=](int i) { f(i); });" + close), testing::SizeIs(1));
  EXPECT_THAT(Bare("Map([&](int i) { f(i); });"), testing::IsEmpty());
}

TEST(LambdaAttributes, StandOnEveryLambdaOfTheKernels) {
  int files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator("src")) {
    const std::string path = entry.path().string();
    if (!path.ends_with(".cc") && !path.ends_with("-inl.h")) continue;
    const std::string source = ReadTextFile(path, 1 << 20);
    if (source.find("HWY_BEFORE_NAMESPACE") == source.npos) continue;
    ++files;
    EXPECT_THAT(Bare(source), testing::IsEmpty()) << path;
  }
  EXPECT_GT(files, 10);
}

}  // namespace
}  // namespace rondo
