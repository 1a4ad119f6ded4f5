#include "base/progress.h"

#include <gmock/gmock.h>
#include <unistd.h>

namespace rondo {
namespace {

using testing::ContainsRegex;
using testing::StartsWith;

// Standard error is a file here, as in a log of a program that runs unattended.
TEST(Progress, ALogSaysAtOnceWhatIsDoneAndLaterHowLongItTakes) {
  testing::internal::CaptureStderr();
  Progress progress("fitting", 10);
  EXPECT_THAT(testing::internal::GetCapturedStderr(), StartsWith("fitting [......"));
  testing::internal::CaptureStderr();
  usleep(2'100'000);
  progress.Add(5);
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              ContainsRegex("fitting .#+\\.+.  50% 2.[0-9]s, 2s left\n"));
}

TEST(Progress, QuietIsQuiet) {
  testing::internal::CaptureStderr();
  { Progress("fitting", 10, /*quiet=*/true).Add(10); }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace rondo
