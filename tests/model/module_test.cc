#include "rondo/module.h"

#include <gmock/gmock.h>

#include "rondo/error.h"

namespace rondo {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(Module, NamesRoundTrip) {
  for (const Module m : kAllModules) EXPECT_EQ(ModuleFromName(Name(m)), m);
  EXPECT_EQ(Name(Module::kPostFfnNorm), "post_ffn_norm");
}

TEST(Module, UnknownNamesGetAHint) {
  EXPECT_THAT([] { ModuleFromName("gates"); }, ThrowsMessage<Error>(HasSubstr("'gate'")));
  EXPECT_THAT([] { ModuleFromName("banana"); }, ThrowsMessage<Error>(HasSubstr("one of q, k, v")));
}

TEST(Module, GroupsFollowTheLayer) {
  EXPECT_EQ(GroupOf(Module::kO), ModuleGroup::kAttention);
  EXPECT_EQ(GroupOf(Module::kGate), ModuleGroup::kFfn);
  EXPECT_EQ(GroupOf(Module::kDown), ModuleGroup::kFfn);
  EXPECT_EQ(GroupOf(Module::kQNorm), ModuleGroup::kNorms);
  EXPECT_FALSE(IsLinear(Module::kAttnNorm));
  EXPECT_TRUE(IsLinear(Module::kDown));
}

}  // namespace
}  // namespace rondo
