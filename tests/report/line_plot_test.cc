#include "report/line_plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "rondo/error.h"

namespace rondo {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(LinePlotSvg, PlacesPointsBetweenTheAxes) {
  const std::string svg =
      LinePlotSvg("a < b", {{"line", {{1, 10, "first"}, {2, 20, {}}, {3, 30, {}}}}},
                  {.x_axis = "loops", .y_axis = "perplexity"});
  EXPECT_THAT(svg, HasSubstr("a &lt; b"));
  EXPECT_THAT(svg, HasSubstr("first: 1, 10"));
  EXPECT_THAT(svg, HasSubstr("cx=\"76.0\" cy=\"308.0\""));   // lower left corner
  EXPECT_THAT(svg, HasSubstr("cx=\"410.0\" cy=\"44.0\""));   // upper right
  EXPECT_THAT(svg, HasSubstr("cx=\"243.0\" cy=\"176.0\""));  // the middle
}

TEST(LinePlotSvg, LogarithmicAxisLeavesOutWhatItCannotShow) {
  const double infinity = std::numeric_limits<double>::infinity();
  const std::string svg = LinePlotSvg(
      "t",
      {{"one", {{0, 1, {}}, {1, 10, {}}, {2, 100, {}}, {3, 0, {}}}}, {"two", {{0, infinity, {}}}}},
      {.x_axis = "x", .y_axis = "y", .logarithmic_y = true});
  EXPECT_THAT(svg, HasSubstr("cx=\"243.0\" cy=\"176.0\""));  // 10 is half way from 1 to 100
  EXPECT_THAT(svg, Not(HasSubstr("inf")));
  EXPECT_THAT(svg, HasSubstr(">two<"));
}

TEST(LinePlotSvg, CountsHaveWholeTicks) {
  for (const auto& [last, ticks] : std::vector<std::pair<double, std::vector<std::string>>>{
           {3, {">1<", ">2<", ">3<"}},
           {37, {">10<", ">20<", ">30<"}},
           {120'000, {">20,000<", ">100,000<", ">120,000<"}}}) {
    const std::string svg =
        LinePlotSvg("t", {{"one", {{1, 1, {}}, {last, 2, {}}}}},
                    {.x_axis = "steps", .y_axis = "loss", .whole_x = true, .markers = false});
    for (const std::string& tick : ticks) EXPECT_THAT(svg, HasSubstr(tick));
  }
}

TEST(LinePlotSvg, RefusesAnEmptyPicture) {
  EXPECT_THROW(LinePlotSvg("t", {{"line", {}}}, {}), Error);
}

}  // namespace
}  // namespace rondo
