"""The recipes: functions that return a complete configuration. A variant changes fields of another one; nothing is set
anywhere else.

An update is `batches_per_update` batches of `train.batch_frames` mel frames, shared among the processes, so that a
recipe means the same on one GPU and on eight. Hours are arithmetic (6 FLOP a weight and frame plus attention, at 40 %
of an A100's bf16 peak), not measured: there was no GPU where this was written. Figures are WER / speaker similarity on
LibriSpeech-PC test-clean, cross-sentence, by others.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from tts_fm.config import ModelConfig, TrainConfig, from_dict, to_dict
from tts_fm.model.published import e2, f5_v1


@dataclass(frozen=True)
class Recipe:
    """All that a run needs to know besides its data. `model.vocab` is set from the data."""

    name: str
    model: ModelConfig
    train: TrainConfig
    tokenizer: dict[str, Any] = field(default_factory=lambda: {"name": "char"})
    batches_per_update: int = 8  # over all processes; `train.accumulate` follows from it
    defaults: dict[str, Any] = field(default_factory=lambda: {"steps": 32, "cfg": 2.0})  # how the exported model speaks
    published: bool = False  # starts from published weights, whose vocabulary is extended

    def for_processes(self, world: int) -> Recipe:
        """The same updates on `world` processes. ValueError when the batches cannot be shared evenly."""
        if world < 1 or self.batches_per_update % world:
            good = [n for n in range(1, self.batches_per_update + 1) if self.batches_per_update % n == 0]
            raise ValueError(
                f"{self.name} has {self.batches_per_update} batches an update, for {good} processes, not {world}"
            )
        return dataclasses.replace(
            self, train=dataclasses.replace(self.train, accumulate=self.batches_per_update // world)
        )


# Chen 2024, arXiv 2410.06885, and its release; dropping is per item here, per batch there, at the same rates
F5_TRAIN = TrainConfig(
    steps=400_000,
    batch_frames=38_400,
    learning_rate=7.5e-5,
    warmup=20_000,
    decay=380_000,
    weight_decay=0.01,
    betas=(0.9, 0.999),
    clip=1.0,
    ema=0.9999,
    span=(0.7, 1.0),
    prompt_first=0.0,
    prompt_text_drop=0.0,
    drop_audio=0.24,
    drop_both=0.2,
    longest_frames=2812,
    most_items=64,
    workers=8,
    log_every=50,
    valid_every=2000,
    save_every=1000,
    tensorboard=True,
)


def f5_small() -> Recipe:
    """F5-TTS v1 Small, 159M parameters, filler text, characters.

    recipes/libritts/run.sh --recipe f5_small --corpus-root data --processes 8 Hardware: 8 GPUs of 48 GB (24 GB with
    --set train.checkpointing=true), or fewer with the same updates. About 300 A100 hours (36 on 8). Expected: 2.68 /
    0.60 (Choi 2025, Interspeech, A-DMA paper's baseline); 2.23 / 0.60 after 1M updates (Semantic-VAE paper).
    """
    return Recipe("f5_small", f5_v1(size="small"), F5_TRAIN)


def f5_base() -> Recipe:
    """F5-TTS v1 Base, 337M parameters.

    recipes/libritts/run.sh --recipe f5_base --corpus-root data --processes 8 Hardware: 8 GPUs of 80 GB (24 GB with
    --set train.checkpointing=true). About 1,800 A100 hours (9 days on 8; its authors: over a week). Expected: no figure
    for LibriTTS alone is published; on Emilia (95,000 h) its authors report 2.42 / 0.66.
    """
    return Recipe("f5_base", f5_v1(size="base"), dataclasses.replace(F5_TRAIN, steps=1_200_000, decay=1_180_000))


def e2_small() -> Recipe:
    """E2-TTS Small (Eskimez 2024, arXiv 2406.18009, in F5's release), 157M parameters, a flat U-Net transformer on
    filler text.

    recipes/libritts/run.sh --recipe e2_small --corpus-root data --processes 8
    Hardware and hours as f5_small. Expected: 3.10 / 0.63 (Choi 2025, baseline); it learns to align later than F5 does.
    """
    return dataclasses.replace(f5_small(), name="e2_small", model=e2(size="small"))


def f5_small_ctc() -> Recipe:
    """f5_small with a CTC reader two thirds of the way up, in training only (A-DMA, Choi 2025, arXiv 2505.19595, its
    text half alone).

    recipes/libritts/run.sh --recipe f5_small_ctc --corpus-root data --processes 8 Hardware and hours as f5_small; the
    exported model has f5_small's weights and no others. Expected: A-DMA reports 2.68 -> 1.97 WER with its CTC and
    HuBERT terms together, and a fraction of the WER in mid-run; not measured for CTC alone. Weight 0.1.
    """
    return dataclasses.replace(f5_small(), name="f5_small_ctc", train=dataclasses.replace(F5_TRAIN, ctc=0.1))


def f5_small_average() -> Recipe:
    """f5_small with ZipVoice's average upsampling: every character gets the same share of the frames (arXiv
    2506.13053).

    recipes/libritts/run.sh --recipe f5_small_average --corpus-root data --processes 8 Hardware as f5_small. 120,000
    updates are 109,000 hours of audio heard, 3 times ZipVoice's 33,000 on LibriTTS: about 90 A100 hours. Expected:
    aligns many times sooner than filler text; no figure for this network is published.
    """
    model = dataclasses.replace(f5_small().model, text="average", text_frame_layers=2)
    return dataclasses.replace(
        f5_small(),
        name="f5_small_average",
        model=model,
        train=dataclasses.replace(F5_TRAIN, steps=120_000, warmup=5_000, decay=115_000, learning_rate=1.5e-4),
    )


def f5_small_aligned() -> Recipe:
    """f5_small with aligned text (Voicebox, arXiv 2306.15687): phone units at their times, from `tts-fm align` (stage
    2).

    recipes/libritts/run.sh --recipe f5_small_aligned --corpus-root data --processes 8 Hardware as f5_small. 100,000
    updates: about 75 A100 hours. Transcripts of prompts are dropped half of the time, so none is needed to speak.
    Expected: our 12M network of this form is intelligible after an hour on two CPU cores; no figure for this one is
    published.
    """
    model = dataclasses.replace(
        f5_small().model, text="aligned", text_frame_layers=2, given_flag=True, mel_mean=-2.44, mel_std=3.72
    )
    train = dataclasses.replace(
        F5_TRAIN,
        steps=100_000,
        warmup=5_000,
        decay=95_000,
        learning_rate=1.5e-4,
        prompt_first=0.5,
        prompt_text_drop=0.5,
        drop_audio=0.1,
    )
    return dataclasses.replace(
        f5_small(),
        name="f5_small_aligned",
        model=model,
        train=train,
        defaults={"steps": 16, "cfg": 2.0},
        tokenizer={"name": "phoneme", "lang": "en-us"},
    )


def finetune() -> Recipe:
    """F5-TTS v1 Base from its published weights, on your own recordings; characters it lacks are added to its
    vocabulary.

    recipes/libritts/run.sh --stage 3 --recipe finetune --manifest data/mine.jsonl --init F5TTS_v1.safetensors
    --init-vocab vocab.txt Hardware: one GPU of 24 GB (with checkpointing, as set here; 16 GB at half the batch). An
    hour of speech: about 2 A100 hours. The published rate is 1e-5 with 20,000 steps of warm-up, too many for a small
    corpus: here 500. Published weights are CC BY-NC. With `--set train.lora_rank=16 --set train.learning_rate=1e-3
    --set train.steps=1000` only low-rank changes are trained: one card, minutes, and a voice from minutes of speech;
    stage 4 merges them.
    """
    train = dataclasses.replace(
        F5_TRAIN,
        steps=10_000,
        warmup=500,
        decay=9_500,
        learning_rate=1e-5,
        ema=0.999,
        batch_frames=9_600,
        checkpointing=True,
        valid_every=500,
        save_every=500,
    )
    return dataclasses.replace(
        f5_base(), name="finetune", train=train, tokenizer={"name": "pinyin"}, batches_per_update=1, published=True
    )


def tiny() -> Recipe:
    """Everything in small: 1M parameters, average text, to see the whole way work. It learns the sound of speech, not
    yet words.

    recipes/libritts/run.sh --stage 1 --recipe tiny --corpus-root data --processes 2
    Hardware: a laptop. Minutes on two cores. Expected: WER near 1.
    """
    model = ModelConfig(
        text="average",
        dim=128,
        depth=4,
        heads=2,
        text_dim=64,
        text_layers=2,
        text_frame_layers=1,
        patch=2,
        shared_adaln=True,
        given_flag=True,
        mel_mean=-2.44,
        mel_std=3.72,
    )
    train = TrainConfig(
        steps=120,
        batch_frames=2_000,
        warmup=20,
        decay=60,
        ema=0.98,
        bf16=False,
        log_every=5,
        valid_every=40,
        save_every=40,
    )
    return Recipe("tiny", model, train, batches_per_update=2, defaults={"steps": 8, "cfg": 1.0})


RECIPES = {
    r.__name__: r
    for r in (f5_small, f5_base, e2_small, f5_small_ctc, f5_small_average, f5_small_aligned, finetune, tiny)
}


def get(name: str, changes: list[str] | None = None) -> Recipe:
    """A recipe by name, with changes such as "train.steps=100" or "model.dim=256". ValueError for names or values that
    do not exist.
    """
    if name not in RECIPES:
        raise ValueError(f"no recipe is called {name!r}; there are {', '.join(RECIPES)}")
    recipe = RECIPES[name]()
    for change in changes or []:
        key, mark, value = change.partition("=")
        part, _, name = key.partition(".")
        try:
            parsed = json.loads(value)
        except ValueError:
            parsed = value
        if not mark or (part not in ("model", "train") and key != "batches_per_update"):
            raise ValueError(f"--set {change!r}: write train.FIELD=VALUE, model.FIELD=VALUE or batches_per_update=N")
        if key == "batches_per_update":
            recipe = dataclasses.replace(recipe, batches_per_update=int(parsed))
        elif part == "model":
            recipe = dataclasses.replace(recipe, model=from_dict(ModelConfig, to_dict(recipe.model) | {name: parsed}))
        else:
            recipe = dataclasses.replace(recipe, train=from_dict(TrainConfig, to_dict(recipe.train) | {name: parsed}))
    return recipe
