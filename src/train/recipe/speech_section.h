// The [speech] section of a recipe: what a speech model is trained on, and its shape where it
// begins with random weights.
#pragma once

#include <string>
#include <vector>

namespace rondo {

struct SpeechSection {
  std::string train;
  std::string audio;
  std::vector<std::string> held_out;
  std::string valid;
  std::string valid_audio;
  int valid_limit = 200;
  std::string task = "transcribe";

  std::string units = "characters";
  int unit_count = 256;
  bool lower = true;

  int sample_rate = 16000;
  int mel_bins = 80;
  std::vector<int> strides = {2, 2};
  std::vector<double> speeds = {1.0};
  int frequency_masks = 2;
  int frequency_width = 10;
  int time_masks = 2;
  int time_width = 40;

  int layers = 6;
  int d_model = 144;
  int d_ff = 576;
  int heads = 4;
  std::string activation = "relu";
  std::string positions = "sinusoidal";
  int conv_kernel = 0;
  int share = 1;
  int rank = 16;
  bool diagonal = true;
  bool square_diagonal = false;
  bool own_norms = true;
  int chunk = 0;
  int left_chunks = -1;
  int dynamic_chunk = 0;

  double ctc = 1;
  double attention = 0;
  double transducer = 0;
  int decoder_layers = 2;
  int joiner_width = 256;
  int predictor_context = 2;
  double label_smoothing = 0.1;
  double dropout = 0.1;
  int batch_frames = 8000;
};

template <typename Visitor>
void VisitSpeechData(SpeechSection& o, Visitor& v) {
  v("train", o.train, "manifest: .tsv (id, text, translation) or .jsonl");
  v("audio", o.audio, "directory or .tar of its audio; empty: found beside the manifest");
  v("held_out", o.held_out, "patterns of ids that are kept out of training");
  v("valid", o.valid, "manifest to measure error rates on; empty: what is held out");
  v("valid_audio", o.valid_audio, "as audio");
  v("valid_limit", o.valid_limit, "utterances measured while training, spread evenly; 0: all");
  v("speeds", o.speeds, "factors of speed perturbation, one drawn for each utterance and epoch");
  v("frequency_masks", o.frequency_masks, "SpecAugment");
  v("frequency_width", o.frequency_width, "widest of them, in bins");
  v("time_masks", o.time_masks, "SpecAugment");
  v("time_width", o.time_width, "widest of them, in frames");
  v("batch_frames", o.batch_frames, "frames of a batch, padding included");
}

// What a model brings with it.
template <typename Visitor>
void VisitSpeechShape(SpeechSection& o, Visitor& v) {
  v("units", o.units, "characters, sentencepiece");
  v("unit_count", o.unit_count, "pieces of sentencepiece");
  v("lower", o.lower, "texts in lower case without punctuation");
  v("sample_rate", o.sample_rate, "Hz; audio is resampled to it");
  v("mel_bins", o.mel_bins, "of log-mel features");
  v("strides", o.strides, "of the convolutions; their product: frames of a position");
  v("layers", o.layers, "depths of the encoder");
  v("d_model", o.d_model, "width");
  v("d_ff", o.d_ff, "width of the feed-forward");
  v("heads", o.heads, "of attention");
  v("activation", o.activation, "of the feed-forward: relu, gelu, silu");
  v("positions", o.positions, "sinusoidal, rope (relative)");
  v("conv_kernel", o.conv_kernel, "above 0: Conformer layers with a convolution so wide (odd)");
  v("share", o.share, "K adjacent depths that share their matrices; 1: none do");
  v("rank", o.rank, "R of each depth's own residuals");
  v("diagonal", o.diagonal, "residuals have a diagonal too");
  v("square_diagonal", o.square_diagonal, "… on square matrices alone");
  v("own_norms", o.own_norms, "norms of each depth's own");
  v("chunk", o.chunk, "positions of a chunk that attention is limited to; 0: the utterance");
  v("left_chunks", o.left_chunks, "chunks before it that are seen; -1: all");
  v("decoder_layers", o.decoder_layers, "of the attention decoder");
  v("joiner_width", o.joiner_width, "of the transducer's predictor and joiner");
  v("predictor_context", o.predictor_context, "units that the predictor sees");
}

template <typename Visitor>
void Visit(SpeechSection& o, Visitor& v) {
  VisitSpeechData(o, v);
  v("task", o.task, "transcribe, translate, both (one encoder)");
  v("dynamic_chunk", o.dynamic_chunk,
    "every step draws a chunk of 1 to so many positions, or all of them half of the time; 0: no");
  v("ctc", o.ctc, "weight of the CTC loss; 0: no such head");
  v("attention", o.attention, "weight of the attention decoder's loss; 0: no decoder");
  v("transducer", o.transducer, "weight of the transducer loss; 0: no such head");
  v("label_smoothing", o.label_smoothing, "of the attention decoder");
  v("dropout", o.dropout, "of branches");
  // The rest is the model's own where the recipe names one.
  VisitSpeechShape(o, v);
}

}  // namespace rondo
