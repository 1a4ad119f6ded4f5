// Fields of option structs: what values they take, and when they count.
#include "base/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace rondo {

enum class Fade { kNone, kLinear };
template <>
inline constexpr auto kChoices<Fade> = Choices("none", "linear");

namespace {

struct Losses {
  double kd = 0.5;
  Fade fade = Fade::kNone;
  double until = 0.8;
};

template <typename Visitor>
void Visit(Losses& o, Visitor& v) {
  v({.name = "kd", .help = "weight", .range = AtLeast(0)}, o.kd);
  v({.name = "fade", .help = "course"}, o.fade);
  v({.name = "until",
     .help = "end",
     .range = ShareAboveZero(),
     .when = {o.fade != Fade::kNone, "with a fade"}},
    o.until);
}

struct Counting {
  std::vector<std::string> names;
  template <typename T>
  void operator()(const Field& field, T&) {
    if (field.when.holds) names.emplace_back(field.name);
  }
};

TEST(Options, AFieldCountsWhereItsConditionHolds) {
  Losses losses;
  Counting counting;
  Visit(losses, counting);
  EXPECT_THAT(counting.names, testing::ElementsAre("kd", "fade"));
  losses.fade = Fade::kLinear;
  counting.names.clear();
  Visit(losses, counting);
  EXPECT_THAT(counting.names, testing::ElementsAre("kd", "fade", "until"));
  counting.names.clear();
  Only none(counting, {false, "elsewhere"});
  Visit(losses, none);
  EXPECT_THAT(counting.names, testing::IsEmpty());
}

TEST(Options, OfTwoConditionsTheFirstThatFailsIsNamed) {
  EXPECT_EQ(Both({true, "a"}, {false, "b"}).only, "b");
  EXPECT_EQ(Both({false, "a"}, {false, "b"}).only, "a");
  EXPECT_EQ(Both({true, "a"}, {true, "b"}).only, "a and b");
  EXPECT_EQ(Both({}, {false, "b"}).only, "b");
}

TEST(Options, RangesSayWhatTheyHold) {
  EXPECT_EQ(AtLeast(0).Text(), "0 or more");
  EXPECT_EQ(Above(0).Text(), "above 0");
  EXPECT_EQ(Share().Text(), "0 to 1");
  EXPECT_EQ(ShareAboveZero().Text(), "above 0, to 1");
  EXPECT_EQ(ShareBelowOne().Text(), "0 to below 1");
  const Range copies = {.least = 2, .most = 64, .off = 0};
  EXPECT_EQ(copies.Text(), "0, or 2 to 64");
  EXPECT_TRUE(copies.Holds(0) && copies.Holds(64));
  EXPECT_FALSE(copies.Holds(1) || copies.Holds(std::nan("")));
  EXPECT_FALSE(ShareAboveZero().Holds(0) || ShareBelowOne().Holds(1));
}

TEST(Options, RangesAreCheckedOfWhatCounts) {
  Losses losses{.until = 2};
  const RangeCheck check("recipe.toml", "stages.0.");
  Visit(losses, check);
  losses.fade = Fade::kLinear;
  EXPECT_THAT([&] { Visit(losses, check); },
              testing::ThrowsMessage<Error>(testing::HasSubstr(
                  "recipe.toml: stages.0.until: value 2 (expected above 0, to 1)")));
}

template <typename T>
std::string FaultOfText(const Field& field, const char* text) {
  T value{};
  const auto fault = Assign(field, text, value);
  return fault ? fault->problem + " | " + fault->expected : ToText(value);
}

TEST(Options, TextBecomesAValueOrSaysWhyNot) {
  EXPECT_EQ(FaultOfText<int>({}, "-3"), "-3");
  EXPECT_EQ(FaultOfText<int>({}, "3x"), "value '3x' | an integer");
  EXPECT_EQ(FaultOfText<int>({.range = AtLeast(1)}, "0"), "value 0 | 1 or more");
  EXPECT_EQ(FaultOfText<double>({}, "1e-3"), "0.001");
  EXPECT_EQ(FaultOfText<double>({}, "nan"), "value 'nan' | a number");
  EXPECT_EQ(FaultOfText<Fade>({}, "linear"), "linear");
  EXPECT_EQ(FaultOfText<Fade>({}, "liner"),
            "unknown name 'liner' | one of none, linear; did you mean 'linear'?");
  EXPECT_EQ(FaultOfText<std::optional<int>>({}, "auto"), "auto");
  EXPECT_EQ(FaultOfText<std::vector<double>>({}, "0.5,0.25"), "0.5,0.25");
  EXPECT_EQ(FaultOfText<std::vector<std::string>>({.whole = true}, "a,b"), "a,b");
  constexpr std::array<std::string_view, 1> kLinear = {"linear"};
  EXPECT_EQ(FaultOfText<Fade>({.among = kLinear}, "none"), "value 'none' | one of linear");
}

}  // namespace
}  // namespace rondo
