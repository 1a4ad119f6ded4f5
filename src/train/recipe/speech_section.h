// The [speech] section of a recipe: what a speech model is trained on, and its shape where it
// begins with random weights.
#pragma once

#include <string>
#include <vector>

#include "train/recipe/choices.h"

namespace rondo {

struct SpeechSection {
  std::string train;
  std::string audio;
  std::vector<std::string> held_out;
  std::string valid;
  std::string valid_audio;
  int valid_limit = 200;
  SpeechTask task = SpeechTask::kTranscribe;

  UnitKind units = UnitKind::kCharacters;
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
  Activation activation = Activation::kRelu;
  PositionKind positions = PositionKind::kSinusoidal;
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

}  // namespace rondo
