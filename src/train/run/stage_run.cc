#include "train/run/stage_run.h"

#include <malloc.h>

#include <utility>

#include "train/model/mixture.h"

namespace rondo {
namespace {

std::vector<std::string> Names(const Model& model) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : model.weights) names.push_back(name);
  return names;
}

std::vector<TrainGroup> GroupsOf(const Stage& stage, const Tying* tying,
                                 const std::vector<std::string>& names) {
  return tying == nullptr ? stage.groups : tying->Groups(stage.groups, names);
}

}  // namespace

StageRun::StageRun(Stage s, const Model& model, uint64_t seed, at::Device device, const Ranks& r,
                   Tying* t)
    : stage(std::move(s)),
      config(model.config),
      plan(model.plan),
      tying(t),
      ranks(r),
      params(WithCopies(model, stage.groups, stage.limits.mixture, seed),
             GroupsOf(stage, tying, Names(model)), device),
      optimizer(params, stage.optimizer, ranks) {}

void StageRun::MakeStudent(int64_t max_length, TeacherCache* cache) {
  student = std::make_unique<Student>(params, config, plan, max_length, stage.compute,
                                      stage.checkpoint, fading ? &fading->rest() : nullptr, ranks);
  student->UseCache(cache);
  if (tying != nullptr) {
    student->set_cut_gradients(GradientsOfTies(tying->ties(), tying->options().summed));
  }
}

void StageRun::Retie(const Ties& before) {
  const Ties& now = tying->ties();
  if (now.state == before.state) return;
  student.reset();
  std::map<std::string, ParamSource> sources =
      TensorsOfTies(params, config, before, now, tying->original());
  std::vector<std::string> names;
  for (const auto& [name, source] : sources) names.push_back(name);
  const std::vector<ParamMove> moves =
      params.Retie(now.plan, std::move(sources), tying->Groups(stage.groups, names));
  optimizer.Retie(moves);
  plan = now.plan;
  malloc_trim(0);
}

int64_t StageRun::TrainingBytes() const {
  int64_t values = params.grad().numel();
  for (const Param* param : params.List()) values += param->elements;
  return values * static_cast<int64_t>(sizeof(float)) + optimizer.bytes();
}

}  // namespace rondo
