#include "report/heatmap.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "rondo/error.h"

namespace rondo {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(HeatmapSvg, ShowsCellsLabelsAndEscapedText) {
  const std::vector<double> values = {0, 0.25, NAN, 1};
  const std::string svg = HeatmapSvg("a < b & c", {"r0", "r1"}, {"c0", "c1"}, values, {});
  EXPECT_THAT(svg, HasSubstr("a &lt; b &amp; c"));
  EXPECT_THAT(svg, HasSubstr("r0, c1: 0.25"));
  EXPECT_THAT(svg, Not(HasSubstr("r1, c0:")));  // NaN stays empty
  EXPECT_THAT(svg, HasSubstr("#fde725"));       // least value, light end
  EXPECT_THAT(svg, HasSubstr("#440154"));       // largest value, dark end
}

TEST(HeatmapSvg, LogarithmicScaleTakesZeros) {
  const std::vector<double> values = {0, 1e-3, 1e-1, 10};
  const std::string svg = HeatmapSvg("t", {"0", "1"}, {"0", "1"}, values, {.logarithmic = true});
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(svg, HasSubstr(">0.1<"));  // the middle of the legend, geometric mean of 1e-3 and 10
}

TEST(HeatmapSvg, RefusesSizesThatDisagree) {
  EXPECT_THROW(HeatmapSvg("t", {"0"}, {"0", "1"}, std::vector<double>{1}, {}), Error);
}

}  // namespace
}  // namespace rondo
