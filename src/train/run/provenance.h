// What computed a run: program, machine and threads. Figures of two runs compare only where these
// agree, so every start of a run is written down with its folder.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/run_log.h"
#include "train/run/ranks.h"

namespace rondo {

// By name: version, commit, libtorch, cpu, instruction_set, threads (of a rank), ranks. As texts:
// numbers of a log are what curves are drawn of.
using Provenance = std::map<std::string, std::string>;

Provenance ProvenanceOf(const Ranks& ranks);

// Makes a line of the log an event "run" that says it.
void AddTo(RunMetrics& metrics, const Provenance& provenance);

// Adds a start at `step` to the list in run.json, which is begun where it is missing.
void AddRunStart(const std::string& path, int64_t step, const Provenance& provenance);

}  // namespace rondo
