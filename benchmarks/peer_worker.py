"""Measures another program, in a process of its own that answers one request a line. benchmarks/peers.py runs it.

A request is {"prefill": tokens, "decode": tokens, "repeat": times}; the answer has the rates of the fastest
repeat and the largest resident set so far (Python's own, about 50 to 400 MB, included).
"""

import argparse
import ctypes
import json
import random
import sys
import time


def peak_memory_bytes() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


class LlamaCpp:
    def __init__(self, path: str, threads: int):
        import llama_cpp as api

        self.api = api
        _silence(api)
        model = api.llama_model_load_from_file(path.encode(), api.llama_model_default_params())
        if not model:
            sys.exit(f"llama.cpp does not load {path}")
        parameters = api.llama_context_default_params()
        parameters.n_ctx = 1024
        parameters.n_batch = parameters.n_ubatch = 512
        parameters.n_threads = parameters.n_threads_batch = threads
        self.context = api.llama_init_from_model(model, parameters)
        self.vocab = api.llama_vocab_n_tokens(api.llama_model_get_vocab(model))

    def clear(self) -> None:
        self.api.llama_memory_clear(self.api.llama_get_memory(self.context), True)

    def step(self, tokens: list[int]) -> None:
        array = (self.api.llama_token * len(tokens))(*tokens)
        batch = self.api.llama_batch_get_one(array, len(tokens))
        if self.api.llama_decode(self.context, batch) != 0:
            sys.exit("llama_decode failed")
        self.api.llama_synchronize(self.context)


class Transformers:
    def __init__(self, path: str, threads: int, dtype: str):
        import torch
        import transformers

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.torch = torch
        self.model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, dtype))
        self.vocab = self.model.config.vocab_size
        self.cache = None

    def clear(self) -> None:
        self.cache = None

    def step(self, tokens: list[int]) -> None:
        out = self.model(self.torch.tensor([tokens]), past_key_values=self.cache, use_cache=True,
                         logits_to_keep=1)
        self.cache = out.past_key_values


def rate(peer, prompt: int, steps: int) -> float:
    """Tokens a second of one prompt of `prompt` tokens, or of `steps` single tokens after one."""
    draw = lambda count: [random.randrange(peer.vocab) for _ in range(count)]
    peer.clear()
    if prompt:
        tokens = draw(prompt)
        start = time.perf_counter()
        peer.step(tokens)
        return prompt / (time.perf_counter() - start)
    tokens = draw(steps)
    start = time.perf_counter()
    for token in tokens:
        peer.step([token])
    return steps / (time.perf_counter() - start)


def serve(peer) -> None:
    rate(peer, 0, 4)  # the first step of all is slower
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        prefill, decode = [], []
        for _ in range(request["repeat"]):
            prefill.append(rate(peer, request["prefill"], 0))
            decode.append(rate(peer, 0, request["decode"]))
        print(json.dumps({"prefill_tok_per_s": max(prefill), "decode_tok_per_s": max(decode),
                          "peak_memory_bytes": peak_memory_bytes()}), flush=True)


def quantize(source: str, target: str, kind: str) -> None:
    try:
        import llama_cpp as api
    except ImportError as error:
        sys.exit(f"llama.cpp's quantiser is missing ({error}); scripts/install_python.sh peers installs it")

    _silence(api)
    parameters = api.llama_model_quantize_default_params()
    parameters.ftype = getattr(api, f"LLAMA_FTYPE_MOSTLY_{kind.upper()}")
    parameters.allow_requantize = True
    if api.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(parameters)) != 0:
        sys.exit(f"llama.cpp does not quantise {source} to {kind}")


def _silence(api) -> None:
    global _log  # must outlive every call
    _log = api.llama_log_callback(lambda level, text, data: None)
    api.llama_log_set(_log, ctypes.c_void_p(0))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    programs = parser.add_subparsers(dest="program", required=True)
    llama_cpp = programs.add_parser("llama.cpp", help="answer requests with llama.cpp")
    llama_cpp.add_argument("model", help="GGUF file")
    llama_cpp.add_argument("threads", type=int)
    transformers = programs.add_parser("transformers", help="answer requests with transformers")
    transformers.add_argument("model", help="Hugging Face directory")
    transformers.add_argument("threads", type=int)
    transformers.add_argument("type", help="a torch dtype, such as bfloat16")
    quantise = programs.add_parser("quantize", help="quantise a GGUF file with llama.cpp, and end")
    quantise.add_argument("source", help="GGUF file")
    quantise.add_argument("target", help="GGUF file to write")
    quantise.add_argument("type", help="a llama.cpp file type, such as q4_0")
    return parser.parse_args()


def main() -> None:
    options = parse()
    random.seed(1)
    if options.program == "llama.cpp":
        serve(LlamaCpp(options.model, options.threads))
    elif options.program == "transformers":
        serve(Transformers(options.model, options.threads, options.type))
    else:
        quantize(options.source, options.target, options.type)


if __name__ == "__main__":
    main()
