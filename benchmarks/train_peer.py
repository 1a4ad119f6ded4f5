"""Distillation of a folded SmolLM2-135M as one would write it with torch, transformers and PEFT: the
loop that rondo-train is measured beside. Neighbouring layers (or layers half the depth apart) hold the
same Parameter objects, every layer has its own LoRA, everything trains, the teacher runs live.

Prints one JSON object: tokens a second of every step but the first, and the peak resident memory.
benchmarks/training.py runs it.
"""

import argparse
import contextlib
import json
import resource
import statistics
import time

LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def fold(model, loops, order):
    """Ties the weights of layers, as `rondo fold --init average` does."""
    import torch
    layers = model.model.layers
    blocks = -(-len(layers) // loops)
    groups = {}
    for depth in range(len(layers)):
        groups.setdefault(depth % blocks if order == "cycle" else depth // loops, []).append(depth)
    for depths in groups.values():
        for name in LINEARS:
            holders = [dict(layers[d].named_modules()) for d in depths]
            linears = [next(m for n, m in h.items() if n.endswith(name)) for h in holders]
            mean = torch.stack([linear.weight.data for linear in linears]).mean(0)
            shared = torch.nn.Parameter(mean)
            for linear in linears:
                linear.weight = shared
    return model


def make_student(path, arguments, dtype):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype)
    fold(model, arguments.loops, arguments.order)
    config = LoraConfig(r=arguments.rank, lora_alpha=arguments.rank, target_modules=LINEARS,
                        lora_dropout=0.0)
    model = get_peft_model(model, config)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="Hugging Face directory (`rondo export models/smollm2.gguf --format hf --out …`)")
    parser.add_argument("--steps", type=int, default=4, help="steps of training; the first does not count (default: 4)")
    parser.add_argument("--batch", type=int, default=8, help="rows of a step (default: 8)")
    parser.add_argument("--length", type=int, default=256, help="tokens of a row (default: 256)")
    parser.add_argument("--rank", type=int, default=64, help="of the LoRA of every layer (default: 64)")
    parser.add_argument("--loops", type=int, default=2, help="layers that share weights (default: 2)")
    parser.add_argument("--order", default="sequence", choices=["sequence", "cycle"],
                        help="neighbours share, or layers far apart")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compute", default="f32", choices=["f32", "bf16"], help="bf16: autocast")
    return parser.parse_args()


def main():
    arguments = parse()
    import torch
    from torch.nn import functional
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    autocast = (torch.autocast("cpu", torch.bfloat16) if arguments.compute == "bf16"
                else contextlib.nullcontext())
    teacher = AutoModelForCausalLM.from_pretrained(
        arguments.model,
        dtype=torch.bfloat16 if arguments.compute == "bf16" else torch.float32).eval()
    student = make_student(arguments.model, arguments, torch.float32).train()
    optimizer = torch.optim.AdamW(student.parameters(), lr=3e-4, betas=(0.9, 0.95),
                                  weight_decay=0.1)
    seconds = []
    for _ in range(arguments.steps):
        ids = torch.randint(0, student.config.vocab_size, (arguments.batch, arguments.length + 1))
        start = time.perf_counter()
        with torch.no_grad():
            taught = teacher(ids[:, :-1]).logits.float()
        with autocast:
            logits = student(ids[:, :-1]).logits.float()
        ce = functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        kd = functional.kl_div(functional.log_softmax(logits, -1).flatten(0, 1),
                               functional.log_softmax(taught, -1).flatten(0, 1),
                               reduction="batchmean", log_target=True)
        (0.5 * ce + 0.5 * kd).backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - start)
    tokens = arguments.batch * arguments.length
    rates = [tokens / s for s in seconds[1:]]
    print(json.dumps({
        "tokens_per_s": statistics.median(rates),
        "all_tokens_per_s": rates,
        "trained_parameters": sum(p.numel() for p in student.parameters()),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }))


if __name__ == "__main__":
    main()
