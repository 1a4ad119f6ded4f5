#include "train/model/student.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "train/model/mixture.h"

namespace rondo {
namespace {

// Gradient tensor of a parameter, undefined when it is frozen or absent.
at::Tensor GradOf(const Params& params, std::string_view name) {
  if (!params.Has(name) || !params.At(name).trained()) return {};
  return params.Get(name).grad();
}

void Accumulate(at::Tensor& sum, const at::Tensor& more) {
  sum = sum.defined() ? sum.add(more) : more;
}

}  // namespace

std::vector<double> ExitWeights(const LossOptions& options, int loops) {
  std::vector<double> weights(static_cast<size_t>(loops), 0.0);
  const double sum = loops * (loops + 1) / 2.0;  // of 1 to `loops`
  for (int loop = 1; loop <= loops; ++loop) {
    double& weight = weights[static_cast<size_t>(loop) - 1];
    if (options.exits == ExitLoss::kWeighted) weight = loop / sum;
    if (options.exits == ExitLoss::kAggressive) weight = options.exit_weight;
  }
  if (options.exits != ExitLoss::kWeighted) weights.back() = 1;
  return weights;
}

void StepValue::Add(const StepValue& other, double share) {
  loss += share * other.loss;
  ce += share * other.ce;
  kd += share * other.kd;
  accuracy += share * other.accuracy;
  hidden += share * other.hidden;
  exit_ce.resize(std::max(exit_ce.size(), other.exit_ce.size()));
  for (size_t i = 0; i < other.exit_ce.size(); ++i) exit_ce[i] += share * other.exit_ce[i];
  consistency += share * other.consistency;
  gates.resize(std::max(gates.size(), other.gates.size()));
  for (size_t i = 0; i < other.gates.size(); ++i) {
    gates[i].loss += share * other.gates[i].loss;
    gates[i].accuracy += share * other.gates[i].accuracy;
    gates[i].agreement += share * other.gates[i].agreement;
  }
}

Student::Student(Params& params, const ModelConfig& config, const SharingPlan& plan,
                 int64_t max_length, ComputeType compute, Recompute recompute,
                 const FadingRest* fading, const Ranks& ranks)
    : params_(params),
      plan_(plan),
      loops_(FindLoops(plan)),
      forward_(config, max_length, compute, params.device()),
      recompute_(recompute),
      fading_(fading),
      ranks_(ranks),
      ffn_width_(config.d_ff) {}

BatchTokens Student::MyTokens(const TokenBatch& batch, const LossOptions& options) const {
  const int begin = FirstRow(batch), rows = batch.rows / ranks_.size();
  return SplitBatch(batch, options.documents_apart, begin, begin + rows);
}

double Student::MeanOverRanks(double value) const {
  ranks_.Sum(std::span(&value, 1));
  return value / ranks_.size();
}

std::vector<int> Student::ExitEnds() const {
  std::vector<int> ends;
  for (int loop = 1; loop < loops_.loops; ++loop) ends.push_back(loops_.Depth(loop, 0));
  return ends;
}

std::vector<Student::Segment> Student::MakeSegments(const LossOptions& options) const {
  const int layers = forward_.config().layers;
  std::set<int> ends = {layers};
  if (recompute_ == Recompute::kLoop) {
    if (loops_.loops > 1) {
      for (int loop = 0; loop <= loops_.loops; ++loop) ends.insert(loops_.Depth(loop, 0));
    } else {
      const int step = static_cast<int>(std::ceil(std::sqrt(layers)));
      for (int depth = step; depth < layers; depth += step) ends.insert(depth);
    }
  }
  if (recompute_ == Recompute::kDepth) {
    for (int depth = 1; depth < layers; ++depth) ends.insert(depth);
  }
  if (options.exits != ExitLoss::kNone || options.gate != 0) {
    for (const int end : ExitEnds()) ends.insert(end);
  }
  if (options.hidden != 0) {
    for (const int depth : options.hidden_depths) ends.insert(depth + 1);
  }
  ends.erase(0);
  std::vector<Segment> segments;
  int first = 0;
  for (const int end : ends) {
    segments.push_back({.first = first, .end = end});
    first = end;
  }
  return segments;
}

at::Tensor Student::RunDepths(int first, int end, at::Tensor hidden, const RowsShape& shape) const {
  for (int depth = first; depth < end; ++depth) {
    const auto kept = dropout_.KeptRows(depth, forward_.config().layers, shape.rows);
    if (kept.empty()) continue;
    LayerTensors layer =
        MergeLayer(params_, forward_.config(), plan_, depth, {.fading = fading_, .cut = &cut_});
    NarrowFfn(forward_.config(), ffn_width_, layer);
    hidden = OnRows(kept, hidden, shape, [&](const at::Tensor& rows, const RowsShape& part) {
      return forward_.Layer(layer, depth, rows, part);
    });
  }
  return hidden;
}

void Student::RunForward(std::vector<Segment>& segments, at::Tensor hidden,
                         const RowsShape& shape) const {
  for (Segment& segment : segments) {
    // The last segment's gradient is due at once, so its activations may stay.
    const bool keep = recompute_ == Recompute::kNone || &segment == &segments.back();
    segment.input = hidden.detach().requires_grad_(true);
    const at::AutoGradMode grad(keep);
    segment.output = RunDepths(segment.first, segment.end, segment.input, shape);
    hidden = segment.output;
  }
}

at::Tensor Student::RunBackward(std::vector<Segment>& segments, const RowsShape& shape) const {
  at::Tensor gradient;
  for (auto segment = segments.rbegin(); segment != segments.rend(); ++segment) {
    if (segment->gradient.defined()) Accumulate(gradient, segment->gradient);
    if (!segment->output.requires_grad()) {
      segment->output = RunDepths(segment->first, segment->end, segment->input, shape);
    }
    torch::autograd::backward({segment->output}, {gradient});
    gradient = segment->input.grad();
    *segment = {.first = segment->first, .end = segment->end};
  }
  return gradient;
}

// Squared error relative to the mean square of the teacher's state, so that depths weigh alike.
void Student::AddHiddenLoss(std::vector<Segment>& segments, const TeacherOutput& taught,
                            const LossOptions& options, double scale, StepValue& value) const {
  const at::NoGradGuard no_grad;
  for (const int depth : options.hidden_depths) {
    const auto at = std::ranges::find(segments, depth + 1, &Segment::end);
    const at::Tensor& target = taught.hidden.at(depth + 1);
    const at::Tensor error = at->output.detach() - target;
    const double norm = MeanOverRanks(target.square().sum().item<double>());
    const double weight = options.hidden / static_cast<double>(options.hidden_depths.size());
    value.hidden += error.square().sum().item<double>() / norm /
                    static_cast<double>(options.hidden_depths.size());
    Accumulate(at->gradient, error * (2 * weight * scale / norm));
  }
  value.loss += options.hidden * value.hidden;
}

void Student::AddExitLosses(std::vector<Segment>& segments, const BatchTokens& tokens,
                            const at::Tensor& last_normed, const LossOptions& options, double scale,
                            StepValue& value, std::vector<std::vector<int32_t>>* best) const {
  const LogitSource last = {last_normed, Head()};
  VocabLoss loss = options.vocab;
  loss.kind = KdKind::kForwardKl;
  loss.ce = static_cast<float>(1 - options.exit_kd);
  loss.kd = static_cast<float>(options.exit_kd);
  const std::vector<double> weights = ExitWeights(options, loops_.loops);
  size_t loop = 0;
  for (const int end : ExitEnds()) {
    const double share = weights[loop++];
    const auto at = std::ranges::find(segments, end, &Segment::end);
    // The engine runs what stands behind the loops when a token leaves them, and so does its loss.
    const at::Tensor leaf = at->output.detach().requires_grad_(true);
    const at::Tensor output = Epilogue(leaf, tokens.shape);
    const HeadLossValue exit = HeadLoss(forward_, params_, output.detach(), tokens.AsTargets(),
                                        loss.kd != 0 ? &last : nullptr, loss, scale * share,
                                        best != nullptr ? &best->emplace_back() : nullptr);
    at::Tensor gradient = exit.d_hidden;
    if (loops_.epilogue > 0) {
      torch::autograd::backward({output}, {gradient});
      gradient = leaf.grad();
    }
    Accumulate(at->gradient, gradient);
    value.exit_ce.push_back(exit.ce);
    value.loss += share * (loss.ce * exit.ce + loss.kd * exit.kd);
  }
}

std::vector<int32_t> Student::BestAtExit(const at::Tensor& hidden, const RowsShape& shape) const {
  const at::NoGradGuard no_grad;
  const at::Tensor last = Epilogue(hidden, shape);
  return BestTokens(Head(), forward_.Norm(FinalNormOf(params_, forward_.config()), last));
}

LogitHead Student::Head() const { return HeadOf(params_, forward_.config(), forward_.compute()); }

at::Tensor Student::Epilogue(const at::Tensor& hidden, const RowsShape& shape) const {
  return RunDepths(loops_.EpilogueDepth(0), forward_.config().layers, hidden, shape);
}

// What the exits' losses have found already is in `exit_best`; it is empty when there are none.
void Student::AddGateLosses(const std::vector<Segment>& segments, const RowsShape& shape,
                            std::span<const std::vector<int32_t>> exit_best,
                            std::span<const int32_t> last_best, const LossOptions& options,
                            double scale, StepValue& value) const {
  int loop = 0;
  for (const int end : ExitEnds()) {
    const auto at = std::ranges::find(segments, end, &Segment::end);
    const at::Tensor hidden = at->output.detach();
    const std::vector<int32_t> best =
        exit_best.empty() ? BestAtExit(hidden, shape) : exit_best[static_cast<size_t>(loop)];
    value.gates.push_back(GateLoss(params_, loop++, hidden, best, last_best, options.gate * scale));
  }
}

// Both outputs move towards each other: each is a student of the other's logits as they are.
void Student::AddConsistency(const BatchTokens& tokens, const at::Tensor& embedded,
                             const at::Tensor& first_normed, Segment& first_last,
                             const LossOptions& options, double scale, const StepKey& key,
                             StepValue& value) {
  UseDraw(params_, key, 1);
  std::vector<Segment> segments = MakeSegments({});
  RunForward(segments, embedded, tokens.shape);
  const std::vector<int32_t> none(tokens.targets.size(), -1);
  const Targets no_targets = {.ids = none, .count = 1};
  const VocabLoss loss = {.kd = static_cast<float>(options.consistency),
                          .kind = KdKind::kSymmetricKl};
  const LogitHead head = Head();
  const LogitSource first = {first_normed, head};
  const HeadLossValue to_first =
      HeadLoss(forward_, params_, segments.back().output.detach(), no_targets, &first, loss, scale);
  const LogitSource second = {to_first.normed, head};
  const HeadLossValue to_second =
      HeadLoss(forward_, params_, first_last.output.detach(), no_targets, &second, loss, scale);
  value.consistency = to_first.kd;
  value.loss += options.consistency * to_first.kd;
  Accumulate(first_last.gradient, to_second.d_hidden);
  segments.back().gradient = to_first.d_hidden;
  AddEmbeddingGradients(tokens, RunBackward(segments, tokens.shape));
  UseDraw(params_, key, 0);
}

void Student::AddEmbeddingGradients(const BatchTokens& tokens, const at::Tensor& d_hidden) {
  EmbedTokensBackward(forward_.config(), EmbeddingOf(params_), d_hidden, tokens.inputs,
                      tokens.shape.length,
                      {.rows = GradOf(params_, "embed.weight"),
                       .projection = GradOf(params_, "embed_projection.weight"),
                       .positions = GradOf(params_, "positions.weight")});
}

at::Tensor Student::Embed(const BatchTokens& tokens) const {
  return EmbedTokens(forward_.config(), EmbeddingOf(params_), tokens.inputs, tokens.shape.length);
}

double Student::CrossEntropy(const TokenBatch& batch, const LossOptions& options) {
  const at::NoGradGuard no_grad;
  const ModelConfig& config = forward_.config();
  dropout_ = {};
  const BatchTokens tokens = MyTokens(batch, options);
  const at::Tensor last = RunDepths(0, config.layers, Embed(tokens), tokens.shape);
  const at::Tensor normed = forward_.Norm(FinalNormOf(params_, config), last);
  const Targets targets = tokens.AsTargets();
  return SumCrossEntropy(Head(), normed, targets.ids) / targets.count;
}

StepValue Student::AddGradients(const TokenBatch& batch, const Teacher* teacher,
                                const LossOptions& options, double scale, const StepKey& key) {
  dropout_ = {.largest = options.layer_dropout, .key = key};
  dropout_.key.first_row = FirstRow(batch);
  UseDraw(params_, key, 0);
  const BatchTokens tokens = MyTokens(batch, options);
  std::vector<int> keep;
  if (options.hidden != 0) {
    for (const int depth : options.hidden_depths) keep.push_back(depth + 1);
  }
  std::optional<TeacherOutput> taught;
  std::optional<TopTokens> top;
  if (cache_ != nullptr && options.vocab.kd != 0) {
    top = cache_->Get(tokens);
  } else if (teacher != nullptr && (options.vocab.kd != 0 || options.hidden != 0)) {
    taught = teacher->Run(tokens.inputs, tokens.shape, keep);
  }

  std::vector<Segment> segments = MakeSegments(options);
  const at::Tensor embedded = Embed(tokens);
  RunForward(segments, embedded, tokens.shape);

  StepValue value;
  const double share = ExitWeights(options, loops_.loops).back();
  std::optional<LogitSource> source;
  if (taught) source = LogitSource{taught->normed, teacher->head()};
  if (top) source = LogitSource{.top = &*top};
  const bool gated = options.gate != 0;
  std::vector<int32_t> best;
  const HeadLossValue last =
      HeadLoss(forward_, params_, segments.back().output.detach(), tokens.AsTargets(),
               source ? &*source : nullptr, options.vocab, scale * share, gated ? &best : nullptr);
  segments.back().gradient = last.d_hidden;
  value.ce = last.ce;
  value.kd = last.kd;
  value.accuracy = last.accuracy;
  value.loss = share * (options.vocab.ce * last.ce + options.vocab.kd * last.kd);
  std::vector<std::vector<int32_t>> exit_best;
  if (options.exits != ExitLoss::kNone) {
    AddExitLosses(segments, tokens, last.normed, options, scale, value,
                  gated ? &exit_best : nullptr);
  }
  if (gated) AddGateLosses(segments, tokens.shape, exit_best, best, options, scale, value);
  if (options.hidden != 0 && taught) AddHiddenLoss(segments, *taught, options, scale, value);

  if (options.consistency != 0) {
    AddConsistency(tokens, embedded, last.normed, segments.back(), options, scale, key, value);
  }
  AddEmbeddingGradients(tokens, RunBackward(segments, tokens.shape));
  return value;
}

StepValue Student::AddAlignmentGradients(const TokenBatch& batch, const Teacher& teacher,
                                         const LossOptions& options, double scale,
                                         const StepKey& key) {
  const int layers = forward_.config().layers;
  dropout_ = {};
  UseDraw(params_, key, 0);
  const BatchTokens tokens = MyTokens(batch, options);
  std::vector<int> keep;
  for (int depth = 0; depth <= layers; ++depth) keep.push_back(depth);
  TeacherOutput taught = teacher.Run(tokens.inputs, tokens.shape, keep);
  StepValue value;
  for (int depth = 0; depth < layers; ++depth) {
    const at::Tensor& input = taught.hidden.at(depth);
    const at::Tensor& target = taught.hidden.at(depth + 1);
    const at::Tensor output = RunDepths(depth, depth + 1, input, tokens.shape);
    at::Tensor gradient;
    {
      const at::NoGradGuard no_grad;
      const at::Tensor error = output - target;
      const double norm = MeanOverRanks((target - input).square().sum().item<double>());
      value.hidden += error.square().sum().item<double>() / norm / layers;
      gradient = error.mul_(2 * scale / norm / layers);
    }
    if (output.requires_grad()) torch::autograd::backward({output}, {gradient});
    taught.hidden.erase(depth);
  }
  value.loss = value.hidden;
  return value;
}

Teacher Student::Snapshot(int64_t max_length, bool with_fading, int64_t ffn_width) const {
  params_.UseMeans();
  return Teacher(params_, forward_.config(), plan_, max_length, ComputeType::kF32,
                 with_fading ? fading_ : nullptr, ffn_width);
}

}  // namespace rondo
