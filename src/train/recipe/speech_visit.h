// The keys of [speech].
#pragma once

#include "train/recipe/recipe_visit.h"

namespace rondo {

inline constexpr std::array<std::string_view, 2> kTrainedUnits = {"characters", "sentencepiece"};
inline constexpr std::array<std::string_view, 2> kTrainedPositions = {"rope", "sinusoidal"};

template <typename Visitor>
void VisitSpeechData(SpeechSection& o, Visitor& v) {
  v({.name = "train", .help = "manifest to train on: .tsv (id, text, translation) or .jsonl"},
    o.train);
  v({.name = "audio", .help = "directory or .tar of its audio; empty: beside the manifest"},
    o.audio);
  v({.name = "held_out", .help = "patterns of ids that are kept out of training"}, o.held_out);
  v({.name = "valid", .help = "manifest whose error rates are measured; empty: what is held out"},
    o.valid);
  v({.name = "valid_audio",
     .help = "directory or .tar of its audio; empty: beside the manifest",
     .when = {!o.valid.empty(), "with speech.valid"}},
    o.valid_audio);
  v({.name = "valid_limit",
     .help = "utterances measured while training, spread evenly; 0: all",
     .range = AtLeast(0),
     .when = {!o.valid.empty() || !o.held_out.empty(), "with valid or held_out"}},
    o.valid_limit);
  v({.name = "speeds",
     .help = "factors of speed, of which one is drawn for each utterance and epoch",
     .range = {.least = 0.1, .most = 10, .above = true, .below = true}},
    o.speeds);
  v({.name = "frequency_masks",
     .help = "SpecAugment: masked bands of frequency",
     .range = AtLeast(0)},
    o.frequency_masks);
  v({.name = "frequency_width",
     .help = "widest of them, in bins",
     .range = AtLeast(0),
     .when = {o.frequency_masks > 0, "with frequency_masks above 0"}},
    o.frequency_width);
  v({.name = "time_masks", .help = "SpecAugment: masked spans of time", .range = AtLeast(0)},
    o.time_masks);
  v({.name = "time_width",
     .help = "widest of them, in frames",
     .range = AtLeast(0),
     .when = {o.time_masks > 0, "with time_masks above 0"}},
    o.time_width);
  v({.name = "batch_frames", .help = "frames of a batch, padding included", .range = AtLeast(1)},
    o.batch_frames);
}

template <typename Visitor>
void VisitEncoder(SpeechSection& o, Visitor& v) {
  Only shared(v, {o.share > 1, "with share above 1"});
  v({.name = "layers", .help = "depths of the encoder"}, o.layers);
  v({.name = "d_model", .help = "width of the hidden states"}, o.d_model);
  v({.name = "d_ff", .help = "width of the feed-forward"}, o.d_ff);
  v({.name = "heads", .help = "heads of attention"}, o.heads);
  v({.name = "activation", .help = "activation of the feed-forward"}, o.activation);
  v({.name = "positions",
     .help = "how positions are told: sinusoidal, or rope (relative)",
     .among = kTrainedPositions},
    o.positions);
  v({.name = "conv_kernel",
     .help = "width (odd) of a convolution in every layer, which makes it a Conformer; 0: none"},
    o.conv_kernel);
  v({.name = "share", .help = "adjacent depths that share their matrices; 1: none do"}, o.share);
  shared({.name = "rank", .help = "rank of each depth's own residuals"}, o.rank);
  shared({.name = "diagonal", .help = "residuals have a diagonal too"}, o.diagonal);
  shared({.name = "square_diagonal",
          .help = "… on square matrices alone",
          .when = {o.diagonal, "with diagonal"}},
         o.square_diagonal);
  shared({.name = "own_norms", .help = "every depth has norms of its own"}, o.own_norms);
  v({.name = "chunk",
     .help = "positions of a chunk that attention is limited to; 0: the whole utterance"},
    o.chunk);
  v({.name = "left_chunks",
     .help = "chunks before it that are seen; -1: all",
     .when = {o.chunk > 0 || o.dynamic_chunk > 0, "with chunk or dynamic_chunk"}},
    o.left_chunks);
}

// What a model brings with it.
template <typename Visitor>
void VisitSpeechShape(SpeechSection& o, Visitor& v) {
  v({.name = "units", .help = "units of text", .among = kTrainedUnits}, o.units);
  v({.name = "unit_count",
     .help = "pieces of sentencepiece",
     .when = {o.units == UnitKind::kSentencePiece, "with units = \"sentencepiece\""}},
    o.unit_count);
  v({.name = "lower", .help = "texts in lower case without punctuation"}, o.lower);
  v({.name = "sample_rate", .help = "sampling rate in Hz; audio is resampled to it"},
    o.sample_rate);
  v({.name = "mel_bins", .help = "bins of the log-mel features"}, o.mel_bins);
  v({.name = "strides",
     .help = "strides of the first convolutions; their product: frames of a position"},
    o.strides);
  VisitEncoder(o, v);
  v({.name = "decoder_layers",
     .help = "layers of the attention decoder",
     .when = {o.attention > 0, "with attention above 0"}},
    o.decoder_layers);
  Only transducer(v, {o.transducer > 0, "with transducer above 0"});
  transducer({.name = "joiner_width", .help = "width of the transducer's predictor and joiner"},
             o.joiner_width);
  transducer({.name = "predictor_context", .help = "units that the predictor sees"},
             o.predictor_context);
}

template <typename Visitor>
void Visit(SpeechSection& o, const RecipeKind& kind, Visitor& v) {
  VisitSpeechData(o, v);
  v({.name = "task", .help = "what the decoder learns to write (both: with one encoder)"}, o.task);
  v({.name = "dynamic_chunk",
     .help = "every step draws a chunk of 1 to this many positions, or half of the time the whole "
             "utterance; 0: no",
     .range = AtLeast(0)},
    o.dynamic_chunk);
  v({.name = "ctc", .help = "weight of the CTC loss; 0: no such head", .range = AtLeast(0)}, o.ctc);
  v({.name = "attention",
     .help = "weight of the attention decoder's loss; 0: no decoder",
     .range = AtLeast(0)},
    o.attention);
  v({.name = "transducer",
     .help = "weight of the transducer loss; 0: no such head",
     .range = AtLeast(0)},
    o.transducer);
  v({.name = "label_smoothing",
     .help = "label smoothing of the attention decoder",
     .range = ShareBelowOne(),
     .when = {o.attention > 0, "with attention above 0"}},
    o.label_smoothing);
  v({.name = "dropout", .help = "dropout of the branches", .range = ShareBelowOne()}, o.dropout);
  Only shape(v, {!kind.model, "without `model`, which has a shape of its own"});
  VisitSpeechShape(o, shape);
}

}  // namespace rondo
