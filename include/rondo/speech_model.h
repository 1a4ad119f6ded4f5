// Speech models: an encoder over audio features, and heads that read text from it.
//
//   SpeechModel model = LoadSpeechModel("models/digits");   // directory with a "speech" section
//   SaveSpeechModel(model, "out", DType::kF32);
//
// Encoder and decoder are what language models are: a ModelConfig, a SharingPlan
// (ResidualTransformer of Wang and Li 2024: sequence order, lora-diag residuals) and Weights.
// Beside them stand the front end, the convolutions that shorten its frames, the context that
// attention sees, the units of text and the heads. Whisper fits too: two convolutions of strides 1
// and 2, learned positions, no head but the decoder.
//
//     features [frames, mel_bins] → (x − shift) · scale → convolutions
//       → encoder [positions, d_model]
//       → ctc: units at every position · transducer: units between positions · decoder: a text
//
// Tensors on disk and in training; those of encoder and decoder as in weights.h behind a prefix:
//
//     encoder.*, decoder.*
//     front.shift, front.scale [mel_bins]           of feature normalisation, where `normalize`
//     front.<i>.weight [d_model, in, 3], .bias      convolution i; in: mel_bins, then d_model
//     ctc.weight [units, d_model], .bias
//     predictor.embed.weight [context, units, width]    transducer: h = relu(Σ_i embed[i][y_{u−i}])
//     joiner.encoder.weight [width, d_model], .bias     z = out · tanh(encoder · x_t + h)
//     joiner.out.weight [units, width], .bias
//
// Immutable after loading; may be read from any number of threads.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "rondo/export.h"
#include "rondo/model.h"

namespace rondo {

// kKaldi: log-mel filterbank energies as Kaldi has them; kWhisper: Whisper's log10 mel spectrogram.
enum class FeatureKind { kKaldi, kWhisper };

struct FrontEnd {
  FeatureKind features = FeatureKind::kKaldi;
  int sample_rate = 16000;  // audio of other rates is resampled
  int mel_bins = 80;
  bool normalize = true;  // front.shift and front.scale exist, from the training data
  // Strides of the convolutions over time: kernel 3, one frame of padding on either side, GELU
  // behind each. Their product is the factor by which frames become fewer.
  std::vector<int> strides = {2, 2};
  bool operator==(const FrontEnd&) const = default;
};

// What positions of the encoder see: a position sees its own chunk and so many chunks before it.
struct AttentionContext {
  int chunk = 0;         // positions; 0: the whole utterance
  int left_chunks = -1;  // −1: all before it
  bool operator==(const AttentionContext&) const = default;
};

// What a chunk [begin, end) of a sequence of `length` positions sees; a chunk of 0 positions is the
// whole sequence.
struct ChunkContext {
  int64_t begin = 0, end = 0;           // positions of the chunk
  int64_t first_key = 0, keys_end = 0;  // positions that they see
};
std::vector<ChunkContext> ChunksOf(const AttentionContext& context, int64_t length);

enum class UnitKind {
  kCharacters,     // "list" in config.json
  kSentencePiece,  // tokenizer.model beside config.json
  kTokenizer,      // a tokenizer of its own with all special tokens in it (Whisper)
};

// Ids of kCharacters and kSentencePiece begin with these; what the text consists of follows.
inline constexpr int kBlankUnit = 0;
inline constexpr int kUnknownUnit = 1;
inline constexpr int kEndUnit = 2;         // ends a decoder's text
inline constexpr int kTranscribeUnit = 3;  // begins one: in the language spoken
inline constexpr int kTranslateUnit = 4;   // … in another
inline constexpr int kFirstTextUnit = 5;

struct UnitConfig {
  UnitKind kind = UnitKind::kCharacters;
  // Texts are compared and trained on in lower case without punctuation.
  bool lower = false;
  std::vector<std::string> list = {};  // kCharacters: unit kFirstTextUnit + i is list[i], UTF-8
  int count = 0;                       // all units, those before kFirstTextUnit included
  bool operator==(const UnitConfig&) const = default;
};

struct TransducerConfig {
  int width = 0;    // of predictor and joiner
  int context = 2;  // units before the next one that the predictor sees (stateless, Ghodsi 2020)
  bool operator==(const TransducerConfig&) const = default;
};

// What Whisper's decoder needs to know beside its vocabulary.
struct WhisperConfig {
  std::vector<int> suppress = {};        // tokens that are never chosen
  std::vector<int> suppress_first = {};  // … as the first of a text
  // Depth and head of cross-attention that follow the time; word times need them.
  std::vector<std::array<int, 2>> alignment_heads = {};
  bool operator==(const WhisperConfig&) const = default;
};

struct SpeechConfig {
  static constexpr int kFormat = 1;

  FrontEnd front = {};
  AttentionContext attention = {};
  UnitConfig units = {};
  bool ctc = true;
  std::optional<TransducerConfig> transducer = {};
  std::optional<WhisperConfig> whisper = {};
  // Frames that become one position.
  int Subsampling() const;
  // Positions of so many frames.
  int64_t Positions(int64_t frames) const;
  // Throws rondo::Error naming the first field that makes no sense.
  void Validate() const;
  bool operator==(const SpeechConfig&) const = default;
};

struct SpeechModel {
  SpeechConfig config = {};
  Model encoder = {};                 // causal = false, vocab = 0
  std::optional<Model> decoder = {};  // cross_attention; its vocabulary are the units
  Weights heads = {};                 // front.*, ctc.*, predictor.*, joiner.*
  std::string path = {};              // where it came from; empty for a model made in memory
};

// Whether `path` is a directory that LoadSpeechModel reads: config.json with a "speech" section, or
// Whisper as Hugging Face (model_type "whisper") or CTranslate2 (model.bin) keep it.
bool IsSpeechModel(const std::string& path);

// Throws rondo::Error naming file, field, value and what was expected.
SpeechModel LoadSpeechModel(const std::string& path, LoadParts parts = LoadParts::kAll);

// Writes config.json and model.safetensors atomically, with the tokenizer files of model.path; what
// it does not write over: SaveModel (model.h).
// Matrices are stored as `store`, vectors as f32.
void SaveSpeechModel(const SpeechModel& model, const std::string& directory, DType store,
                     const SaveOptions& options = {});
// The same with a type for every tensor by its name on disk, f32 for those left out. Quantised ones
// are in model.gguf instead of model.safetensors, whose format has no such types.
void SaveSpeechModel(const SpeechModel& model, const std::string& directory,
                     const TensorTypes& types, const SaveOptions& options = {});

// Tensors of SpeechModel::heads.
std::vector<TensorSpec> ExpectedHeadTensors(const SpeechConfig& config, int d_model);

// Throws naming the first missing, surplus or misshapen tensor, or the field of a configuration.
void CheckSpeechModel(const SpeechModel& model);

// All tensors under their names on disk, sharing storage; and the way back. Of `shape` everything
// but the weights is taken.
Weights JoinWeights(const SpeechModel& model);
SpeechModel SplitWeights(const SpeechModel& shape, const Weights& weights);

struct SpeechParameters {
  ParameterCount encoder = {};
  ParameterCount decoder = {};
  int64_t heads = 0;
  // Linear and norm parameters of the encoder, relative to those without any sharing.
  double EncoderShare() const;
  int64_t Total() const { return encoder.Total() + decoder.Total() + heads; }
};
SpeechParameters CountParameters(const SpeechModel& model);

// An encoder as published: LayerNorm before every branch and at the end, biases, feed-forward
// without gate (ReLU), sinusoidal positions.
ModelConfig EncoderConfig(int layers, int d_model, int d_ff, int heads);

// ResidualTransformer's plan: blocks of `share` adjacent depths, each depth with residuals of rank
// `rank` on every linear, and a diagonal where wanted; share 1 is the identity plan. Norms are each
// depth's own or shared like the linears, biases are shared. `square_diagonal`: diagonals on square
// matrices alone, with which the published sizes come out to the digit.
struct ResidualPlanOptions {
  int share = 3;
  int rank = 16;
  bool diagonal = true;
  bool square_diagonal = false;
  bool own_norms = true;
};
SharingPlan ResidualTransformerPlan(const ModelConfig& config, const ResidualPlanOptions& options);

// Sinusoidal positions [length, width]: sin(t·f) and cos(t·f) in the first and second half, with
// frequencies from 1 down to 1/10000 (as Whisper's encoder has them).
std::vector<float> SinusoidalPositions(int64_t first, int64_t length, int64_t width);

}  // namespace rondo
