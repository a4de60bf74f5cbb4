"""The public names. Whoever changes one changes what users rely on: see "Versions and deprecation" in CONTRIBUTING."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import tts_fm

PUBLIC = {
    "tts_fm": "TTS __version__ adapt_voice load_flow_model",
    "tts_fm.audio": (
        "CHARS_PER_SECOND FORMATS FRAMES_PER_SECOND HOP MAX_CHANNELS MAX_SAMPLES MEL_CONVENTION MEL_FLOOR "
        "METADATA_KEYS MIN_SAMPLES N_FFT N_MELS Place RATES READABLE SAMPLE_RATE TARGET_LUFS TOGETHER as_wave "
        "by_covariance check_reference format_of from_spectrum limit load log_mel loud loudness matched "
        "normalise_loudness read_audio resample splice true_peak write_audio"
    ),
    "tts_fm.batch": (
        "BatchStopped FORMATS FORMS Item ListError Options Progress Record check_id clean_id model_digest "
        "read_list run_batch"
    ),
    "tts_fm.data": (
        "Batch Buckets Items Loader ManifestItems SPLITS TrainItem Utterance collate draw_infill envelope "
        "equalised from_row hide_prompt_symbols make_vocab mel_of read_manifest read_wave revoiced roomed "
        "statistics stretching turn write_manifest"
    ),
    "tts_fm.edit": (
        "Aligner Alignment BUILTIN DOUBTFUL Edited FLOOR MARGIN Recording STATES align_utterance differences edit "
        "layout quiet_frames read whole_words word_ranges"
    ),
    "tts_fm.evaluate": (
        "Errors EvalItem ItemResult Report SpeakWith Transcribe WHISPER_FOLDER Whisper evaluate hardware "
        "read_eval_list summarise word_errors"
    ),
    "tts_fm.flow": (
        "ClassifierGuidance CosinePath FittedSolver Loss OTPath Path RowFit VEPath VPPath along along_path cfg "
        "cfm_loss couple distilled draw_times f5_grid fit_rows flow_error guided guided_joint guided_split "
        "independent lesson_loss log_likelihood logit_normal make_path minibatch_ot mode nfe path_name "
        "read_solvers refine reflow rollout_loss search_times seeded_pairs solve split straightness time_grid "
        "u_shaped uniform_times walk write_solvers"
    ),
    "tts_fm.model": (
        "AlignerModel Attention Block DiT DurationModel FeedForward FlowModel GlobalResponseNorm "
        "GriffinLim Modulation TextConditioning TimeEmbedding UNetT Vocoder aligned_index average_index "
        "check_variant convert_vocos e2 f5_v0 f5_v1 load_aligner load_duration_model load_vocoder position_mask "
        "published_config rotary_angles rotate save_aligner save_duration_model save_vocoder vocoder_from_state"
    ),
    "tts_fm.serve": "LOCAL ServeConfig create_app listen need_extra read_key serve",
    "tts_fm.text": (
        "Block Break CharTokenizer ChunkPlan Encoded Ipa KINDS PAUSES PhonemeTokenizer PinyinTokenizer TIE Text "
        "Tokenizer Word byte_ratio_frames cardinal espeak_version ipa_units languages load_vocab make_tokenizer "
        "ordinal pack parse_markup pause_between phoneme_units phoneme_units_many plain_text plan_chunks "
        "read_plain save_vocab sentences split_units unit_spans year"
    ),
    "tts_fm.train": (
        "Diverged Guard Prepared Trainer WithCTC adapt_voice ctc_loss learning_rate noise_generator parameter_groups "
        "prepare sharpen sharpened"
    ),
    "tts_fm.checkpoint": (
        "cache_dir convert_pt download is_offline is_remote load_flow_model parse_hf resolve resolve_folder "
        "save_flow_model"
    ),
    "tts_fm.voices": "AdaptedVoice Adapter Voice add_voice catalogue get_voice remove_voice",
}


@pytest.mark.parametrize("package", PUBLIC)
def test_public_names_are_pinned_and_there(package: str) -> None:
    module = importlib.import_module(package)
    assert sorted(module.__all__) == PUBLIC[package].split()
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_every_package_with_public_names_is_pinned() -> None:
    folder = Path(tts_fm.__file__).parent
    packages = [f"tts_fm.{path.parent.name}" for path in folder.glob("*/__init__.py")]
    public = {name for name in packages if getattr(importlib.import_module(name), "__all__", None)}
    assert public | {"tts_fm"} == set(PUBLIC)


def test_types_are_published() -> None:
    assert (Path(tts_fm.__file__).parent / "py.typed").is_file()
