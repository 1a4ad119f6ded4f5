#include "eval/python_random.h"

#include <gmock/gmock.h>

#include "rondo/error.h"

namespace rondo {
namespace {

using testing::ElementsAre;

// All expected values were printed by CPython 3.11.

TEST(PythonRandomTest, DrawsCPythonsNumbers) {
  PythonRandom random(1234);
  EXPECT_EQ(random.Random(), 0.9664535356921388);
  EXPECT_EQ(random.Random(), 0.4407325991753527);
  EXPECT_EQ(random.Random(), 0.007491470058587191);
}

TEST(PythonRandomTest, ChoosesAsCPython) {
  PythonRandom random(0);
  std::vector<uint64_t> chosen;
  for (int i = 0; i < 6; ++i) chosen.push_back(random.Choice(5153));
  EXPECT_THAT(chosen, ElementsAre(4351, 3905, 2167, 1334, 2634, 2086));
}

// CPython samples small populations from a list and large ones by rejection; the border moves with
// the size of the sample.
TEST(PythonRandomTest, SamplesAsCPython) {
  using Drawn = std::vector<uint64_t>;
  struct Case {
    uint64_t population, count;
    Drawn first, second;
  };
  for (const Case& c :
       {Case{8, 3, {7, 0, 6}, {1, 6, 4}}, Case{21, 3, {14, 3, 0}, {2, 18, 1}},
        Case{22, 3, {14, 3, 0}, {2, 18, 1}},
        Case{2251, 5, {1805, 478, 30, 371, 143}, {343, 403, 1452, 969, 71}},
        Case{80, 6, {56, 14, 0, 11, 74, 4}, {10, 12, 45, 30, 2, 3}},
        Case{90, 6, {56, 14, 0, 11, 74, 4}, {85, 88, 10, 12, 45, 30}}, Case{1, 1, {0}, {0}}}) {
    PythonRandom random(1234);
    EXPECT_EQ(random.Sample(c.population, c.count), c.first) << c.population;
    EXPECT_EQ(random.Sample(c.population, c.count), c.second) << c.population;
  }
  EXPECT_THROW(PythonRandom(1).Sample(3, 4), Error);
}

}  // namespace
}  // namespace rondo
