#include "train/language/language_stage.h"

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

LanguageStage::LanguageStage(Stage s, const Model& model, uint64_t seed, at::Device device,
                             const Ranks& r, Tying* t)
    : StageRun(s, WithCopies(model, s.groups, s.limits.mixture, seed), GroupsOf(s, t, Names(model)),
               device, r),
      config(model.config),
      plan(model.plan),
      tying(t),
      ranks(r) {}

void LanguageStage::MakeStudent(int64_t max_length, TeacherCache* cache) {
  student = std::make_unique<Student>(params, config, plan, max_length, stage.compute,
                                      stage.recompute, fading ? &fading->rest() : nullptr, ranks);
  student->UseCache(cache);
  if (tying != nullptr) {
    student->set_cut_gradients(GradientsOfTies(tying->ties(), tying->options().summed));
  }
}

void LanguageStage::Retie(const Ties& before) {
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

int64_t LanguageStage::TrainingBytes() const {
  int64_t values = params.grad().numel();
  for (const Param* param : params.List()) values += param->elements;
  return values * static_cast<int64_t>(sizeof(float)) + optimizer.bytes();
}

}  // namespace rondo
