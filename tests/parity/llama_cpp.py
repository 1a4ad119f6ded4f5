"""Runs a GGUF file in llama.cpp (Python package xllamacpp): greedy tokens and all their log-probabilities.

Each run is a process of its own, since llama.cpp aborts on what it does not like.

    python llama_cpp.py FILE '{"prompt": [1, 2], "n_predict": 8, "vocab": 96}'
"""

import json
import subprocess
import sys

import numpy as np


def generate(path, prompt, n_predict, vocab):
    """Greedy continuation of `prompt` (token ids): tokens [n], log-probabilities [n, vocab]. The end
    token is never chosen. Weights of the file, f32 cache, no fused attention, one thread."""
    request = json.dumps({"prompt": list(map(int, prompt)), "n_predict": n_predict, "vocab": vocab})
    result = subprocess.run([sys.executable, __file__, str(path), request], capture_output=True,
                            text=True, timeout=300)
    assert result.returncode == 0, f"llama.cpp on {path}:\n{result.stderr[-2000:]}"
    steps = json.loads(result.stdout.splitlines()[-1])
    probabilities = np.full((len(steps), vocab), np.nan)
    for row, step in zip(probabilities, steps):
        for entry in step["top_logprobs"]:
            row[entry["id"]] = entry["logprob"]
    return [step["id"] for step in steps], probabilities


def _main(path, request):
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = path
    parameters.n_ctx = 256
    parameters.n_parallel = 1
    parameters.warmup = False
    parameters.fit_params = False
    parameters.verbosity = -1
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    server = xllamacpp.Server(parameters)
    answer = server.handle_completions({
        "prompt": request["prompt"], "n_predict": request["n_predict"], "temperature": 0,
        "n_probs": request["vocab"], "ignore_eos": True, "cache_prompt": False})
    if "choices" not in answer:
        sys.exit(json.dumps(answer))
    print(json.dumps(answer["choices"][0]["logprobs"]["content"]))


if __name__ == "__main__":
    _main(sys.argv[1], json.loads(sys.argv[2]))
