#include "train/run/task.h"

#include <algorithm>
#include <filesystem>
#include <utility>

namespace rondo {

std::string RunPath(const Recipe& recipe, const std::string& name) {
  return (std::filesystem::path(recipe.run.out) / name).string();
}

ComputeType TeacherCompute(std::span<const Stage> stages) {
  const auto in_f32 = [](const Stage& stage) {
    return stage.NeedsTeacher() && stage.compute != ComputeType::kBf16;
  };
  return std::ranges::any_of(stages, in_f32) ? ComputeType::kF32 : ComputeType::kBf16;
}

StageRun::StageRun(Stage s, const Model& model, std::span<const TrainGroup> groups,
                   at::Device device, const Ranks& ranks)
    : stage(std::move(s)),
      params(model, groups, device, stage.rounding),
      optimizer(params, stage.optimizer, ranks) {}

double StageRun::Progress(const RunState& state) const {
  return StageProgress(stage.limits, state.stage_step, state.stage_tokens, state.stage_seconds);
}

}  // namespace rondo
