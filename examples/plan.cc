// Reads the sharing plan of a model, changes it, and prints the new one as JSON.
//
//   example_plan MODEL
//
// The last depth gets a feed-forward of its own, and all residuals twice their rank. Fold() makes a
// model with such a plan; `rondo fold --plan FILE` does so from the command line.
#include <exception>
#include <iostream>
#include <string>

#include "rondo/model.h"
#include "rondo/sharing_plan.h"
#include "rondo/weights.h"

namespace {

void Show(const char* title, const rondo::ModelConfig& config, const rondo::SharingPlan& plan) {
  std::cerr << title << ": " << rondo::CountParameters(config, plan).NonEmbedding()
            << " parameters\n";
  for (const rondo::Module module : rondo::kAllModules) {
    const rondo::ModulePlan& part = plan[module];
    if (!rondo::IsLinear(module) || part.blocks.empty()) continue;
    std::cerr << "  " << Name(module) << ": blocks";
    for (const int block : part.blocks) std::cerr << ' ' << block;
    std::cerr << ", residual " << Name(part.residual) << '\n';
  }
}

rondo::SharingPlan Edit(rondo::SharingPlan plan) {
  for (const rondo::Module module : rondo::kAllModules) {
    rondo::ModulePlan& part = plan[module];
    if (!rondo::IsLinear(module) || part.blocks.empty()) continue;
    for (int& rank : part.ranks) rank *= 2;
    if (GroupOf(module) != rondo::ModuleGroup::kFfn) continue;
    part.blocks.back() = part.BlockCount();          // a block that no other depth uses …
    if (!part.ranks.empty()) part.ranks.back() = 0;  // … needs no residual
  }
  plan.order = "custom";
  return plan;
}

void Run(const std::string& path) {
  // The configuration alone: no weights are read.
  const rondo::Model model = rondo::LoadModel(path, rondo::LoadParts::kConfig);
  Show("before", model.config, model.plan);
  const rondo::SharingPlan plan = Edit(model.plan);
  plan.Validate(model.config);  // throws naming field, value and what was expected
  Show("after", model.config, plan);
  std::cout << rondo::PlanToJson(plan) << '\n';
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: example_plan MODEL\n";
    return 2;
  }
  try {
    Run(argv[1]);
    return 0;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
