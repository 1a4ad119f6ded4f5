"""The agent of layers that tie themselves, update by update, against PyTorch: network, target, loss, AdamW."""

import json
import subprocess
from pathlib import Path

import pytest
import torch
from conftest import BUILD
from safetensors.torch import load_file

LAYERS, INTERVAL, STEPS = 5, 2, 24
DATA = Path(__file__).parent.parent / "data"
STORIES = DATA / "models" / "stories260K" / "stories260K.bin"
TEXT = DATA / "enwiki" / "excerpt.txt.xz"
TRAIN = BUILD / "bin" / "rondo-train"


@pytest.fixture(scope="module", params=[0, 3], ids=["published", "target network"])
def tied_run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tying")
    (folder / "recipe.toml").write_text(f"""
[init]
family = "gpt2"
tokenizer = "{STORIES}"
layers = {LAYERS}
d_model = 32
heads = 4
max_positions = 64
[tying]
interval = {INTERVAL}
epsilon = 0.5
target_every = {request.param}
[data]
files = ["{TEXT}"]
cache = "{folder}/cache"
length = 32
[run]
out = "{folder}/run"
threads = 1
checkpoint_steps = {INTERVAL}
keep = 100
[train]
steps = {STEPS}
batch = 2
lr = 3e-3
ce = 1.0
kd = 0.0
""")
    assert TRAIN.exists(), f"{TRAIN} is missing: run `make build` with torch in .venv"
    subprocess.run([TRAIN, folder / "recipe.toml", "--quiet"], check=True, capture_output=True)
    lines = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
    checkpoints = sorted((folder / "run/checkpoints").glob("*.safetensors"))
    assert len(checkpoints) == STEPS // INTERVAL
    return lines, [load_file(path) for path in checkpoints], request.param


def slice_of(depth: int) -> slice:
    first = depth * (depth + 1) // 2
    return slice(first, first + depth + 1)


class Agent(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = torch.nn.Linear(LAYERS, 128)
        self.values = torch.nn.Linear(128, LAYERS * (LAYERS + 1) // 2)

    def forward(self, state):
        return self.values(torch.relu(self.hidden(state)))

    def tensors(self):
        return {"w1": self.hidden.weight, "b1": self.hidden.bias, "w2": self.values.weight, "b2": self.values.bias}

    def load(self, stored, suffix=""):
        with torch.no_grad():
            for name, tensor in self.tensors().items():
                tensor.copy_(stored[f"agent.{name}{suffix}"].view_as(tensor))


def decisions(lines):
    """(depth, action, state before, state after, reward, tie event, reward event) of every decision."""
    ties = [line for line in lines if line.get("event") == "tie"]
    rewards = [line for line in lines if line.get("event") == "reward"]
    state = [0.0] * LAYERS
    for number, (tie, reward) in enumerate(zip(ties, rewards, strict=True)):
        assert tie["decision"] == reward["decision"] == number
        depth, action = int(tie["depth"]), int(tie["action"])
        assert depth == 1 + number % (LAYERS - 1)
        before, state = state, [*state[:depth], float(action), *state[depth + 1:]]
        yield depth, action, torch.tensor(before), torch.tensor(state), reward["reward"], tie, reward


def test_updates_are_those_of_pytorch(tied_run):
    lines, checkpoints, target_every = tied_run
    agent, target = Agent(), Agent()
    optimizer = torch.optim.AdamW(agent.parameters(), lr=1e-3, weight_decay=0.01)
    for number, (depth, action, before, after, reward, _, event) in enumerate(decisions(lines)):
        if number > 0:
            # From what was stored after the update before.
            stored = checkpoints[number - 1]
            agent.load(stored)
            target.load(stored, ".target" if target_every else "")
            for name, tensor in agent.tensors().items():
                optimizer.state[tensor] = {"step": torch.tensor(float(number)),
                                           "exp_avg": stored[f"agent.{name}.m"].view_as(tensor).clone(),
                                           "exp_avg_sq": stored[f"agent.{name}.v"].view_as(tensor).clone()}
            with torch.no_grad():
                goal = reward + 0.99 * target(after)[slice_of(depth)].max()
            loss = torch.nn.functional.mse_loss(agent(before)[slice_of(depth)][action], goal)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            assert event["target"] == pytest.approx(float(goal), rel=1e-5)
            assert event["agent_loss"] == pytest.approx(float(loss.detach()), rel=1e-4)
            for name, tensor in agent.tensors().items():
                got = checkpoints[number][f"agent.{name}"].view_as(tensor)
                # A step of AdamW is at most about the rate of 1e-3; sums of 128 products in f32 differ in the last
                # bits.
                torch.testing.assert_close(got, tensor.detach(), atol=1e-6, rtol=1e-5)


def test_choices_are_greedy_or_by_chance(tied_run):
    lines, checkpoints, _ = tied_run
    agent = Agent()
    explored = 0
    for number, (depth, action, before, _, _, tie, _) in enumerate(decisions(lines)):
        assert tie["epsilon"] == pytest.approx(0.5 * 0.95 ** (number // (LAYERS - 1)))
        assert 0 <= action <= depth
        if number == 0:
            continue
        agent.load(checkpoints[number - 1])
        values = agent(before)[slice_of(depth)].detach()
        assert tie["value"] == pytest.approx(float(values[action]), rel=1e-4, abs=1e-5)
        explored += int(tie["explored"])
        if not tie["explored"]:
            assert action == int(values.argmax())
    assert 0 < explored < STEPS // INTERVAL - 1


def test_rewards_are_clipped_negative_perplexities(tied_run):
    lines, _, _ = tied_run
    for *_, reward, _, event in decisions(lines):
        perplexity = torch.tensor(event["probe_ce"]).exp()
        assert reward == pytest.approx(max(-10.0, -float(perplexity)))
