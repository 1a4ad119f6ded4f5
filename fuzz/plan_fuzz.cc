// Sharing plans. What was accepted can be written and read again.
#include "fuzz/input.h"
#include "rondo/sharing_plan.h"

using namespace rondo;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  SharingPlan plan;
  const bool read =
      fuzz::Refusable([&] { plan = PlanFromJson(fuzz::Text(data, size), "plan.json"); });
  if (!read) return 0;
  FindLoops(plan);
  fuzz::Require(PlanFromJson(PlanToJson(plan), "plan.json") == plan,
                "a plan that is written reads as the same");
  return 0;
}
