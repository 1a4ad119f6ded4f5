// The names of the choices of speech models, in config.json, recipes and on command lines.
#pragma once

#include "base/choice.h"
#include "rondo/recognizer.h"
#include "rondo/speech_model.h"

namespace rondo {

template <>
inline constexpr auto kChoices<SearchKind> = Choices("auto", "ctc", "transducer", "attention",
                                                     "joint");
template <>
inline constexpr auto kChoices<Activation> = Choices("silu", "gelu", "gelu_tanh", "relu");
template <>
inline constexpr auto kChoices<PositionKind> = Choices("rope", "learned", "sinusoidal");
template <>
inline constexpr auto kChoices<FeatureKind> = Choices("kaldi", "whisper");
template <>
inline constexpr auto kChoices<UnitKind> = Choices("characters", "sentencepiece", "tokenizer");

}  // namespace rondo
