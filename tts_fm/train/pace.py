"""A person's pace: the duration model learns from a few clips how long they take over every symbol, from a single clip
how quick they are.

Updates are functions of the seed and their number. What they have learnt is kept only if the clips that were held out
say that it is better. B items, N symbols, T prompt frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tts_fm.audio.mel import FRAMES_PER_SECOND
from tts_fm.data.batches import TrainItem, pad_texts
from tts_fm.model.duration import DurationModel
from tts_fm.text.symbols import is_pause

ITEMS, RATE, WARMUP = 12, 1e-3, 10
CROP = (2.0, 6.0)  # seconds of a prompt
MOST_SHIFT = 0.4  # of the bias that `quicker` changes, up or down: symbols last a third less, or a half more, at most


def pace_updates(seconds: float) -> int:
    """How many updates so much speech is worth; none under half a minute, which says no more than one number."""
    return 0 if seconds < 30 else 60 if seconds < 180 else 100


def learn_pace(
    model: DurationModel,
    own: Sequence[TrainItem],
    held: Sequence[TrainItem],
    prompt: np.ndarray,
    updates: int,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """(changes of the model's parameters by name, errors before and after in milliseconds a symbol).

    prompt: (T, 100), that which the voice will have. held: measured on; without any, what was learnt from. The changes
    are empty where they would make it no better. Without updates one number changes (`quicker`).
    """
    model = model.float()
    base = {name: value.detach().clone() for name, value in model.named_parameters()}
    judges = held or own
    before = error_ms(model, judges, prompt)
    if not updates:
        found = quicker(model, own, prompt)
        return found, {"before": round(before, 2), "after": round(error_ms(model, judges, prompt), 2)}
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)
    for update in range(updates):
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1.0, (update + 1) / WARMUP, 2 * (1 - update / updates))
        ids, frames, prompts, lengths = batch(own, prompt, np.random.default_rng((seed, 2, update)))
        with torch.random.fork_rng([]):  # dropout draws from torch's own generator
            torch.manual_seed(seed * 1_000_003 + update)
            loss = duration_loss(model(ids, prompts, lengths).float(), frames, ids)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(model.parameters()), 1.0)
        optimiser.step()
        if on_progress is not None:
            on_progress(update + 1, updates)
    after = error_ms(model, judges, prompt)
    if not after < before:
        return {}, {"before": round(before, 2), "after": round(before, 2)}
    found = {name: value.detach() - base[name] for name, value in model.named_parameters()}
    return found, {"before": round(before, 2), "after": round(after, 2)}


@torch.no_grad()
def quicker(model: DurationModel, own: Sequence[TrainItem], prompt: np.ndarray) -> dict[str, Tensor]:
    """Change the bias that all symbols share, so that the clips are spoken nearly as quickly as they were; returns the
    change.

    A clip's own pace scatters by 5 % around its speaker's, which differs from what the model makes of a prompt by 10 %
    (40 clips of four voices that it had not heard). So of what one clip says a half is taken, of three clips 3 / 4:
    that brings the error of another clip's pace from 9.7 to 6.7 %. Pauses do not count.
    """
    bias, speech = model.head.bias, [not is_pause(symbol) for symbol in model.vocab]
    start, shown = bias.clone(), torch.from_numpy(np.ascontiguousarray(prompt))[None]
    model.eval()

    def longer(shift: float) -> float:
        """How much longer than spoken the model's symbols are, a mean logarithm; frames count from one."""
        bias.copy_(start + shift)
        ratios = []
        for item in own:
            assert item.durations is not None
            said = model(torch.from_numpy(item.ids)[None], shown)[0].numpy()
            counts = np.array([speech[i] for i in item.ids])
            ratios.append(np.log((said[counts] + 1).sum() / (item.durations[counts] + 1).sum()))
        return float(np.mean(ratios))

    wanted = longer(0.0) / (len(own) + 1)
    low, high = -MOST_SHIFT, MOST_SHIFT
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if longer(middle) < wanted else (low, middle)
    bias.copy_(start + (low + high) / 2)
    return {"head.bias": bias - start}


def batch(
    own: Sequence[TrainItem], prompt: np.ndarray, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """ids (B, N), frames (B, N), prompts (B, T, 100) and their lengths (B,): clips behind crops of others, or of the
    voice's prompt."""
    chosen = [own[n] for n in rng.integers(len(own), size=min(ITEMS, 4 * len(own)))]
    crop = int(rng.uniform(*CROP) * FRAMES_PER_SECOND)
    mels = []
    for _ in chosen:
        source = own[int(rng.integers(len(own)))].mel if rng.random() < 0.7 else prompt
        size = min(crop, len(source))
        at = int(rng.integers(len(source) - size + 1))
        mels.append(source[at : at + size])
    prompts = np.zeros((len(chosen), max(map(len, mels)), mels[0].shape[1]), np.float32)
    for row, mel in zip(prompts, mels, strict=True):
        row[: len(mel)] = mel
    ids, frames = pad_texts([(item.ids, item.durations) for item in chosen])
    assert frames is not None
    return ids, frames, torch.from_numpy(prompts), torch.tensor([len(mel) for mel in mels])


def duration_loss(said: Tensor, true: Tensor, ids: Tensor) -> Tensor:
    """Huber on log(1 + frames) over symbols but the first silence, which the cutting decides, and the distance of the
    logarithms of the totals."""
    real = ids >= 0
    real[:, 0] = False
    each = F.smooth_l1_loss(said.log1p(), true.log1p(), beta=0.2, reduction="none")[real].mean()
    return each + (said.sum(1).clamp(min=1).log() - true.sum(1).clamp(min=1).log()).abs().mean()


@torch.no_grad()
def error_ms(model: DurationModel, items: Sequence[TrainItem], prompt: np.ndarray) -> float:
    """Mean error of a symbol between the silences, in milliseconds."""
    model.eval()
    shown, errors = torch.from_numpy(np.ascontiguousarray(prompt))[None], []
    for item in items:
        assert item.durations is not None
        said = model.durations(torch.from_numpy(item.ids)[None], shown)[0].numpy()
        errors.append(np.abs(said - item.durations)[1:-1].mean())
    return float(np.mean(errors)) / FRAMES_PER_SECOND * 1000
