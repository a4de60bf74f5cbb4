"""The table of settings, and every place in which a setting can be given: none offers more, less or other ranges than
the table says.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import typing
from importlib import import_module

import pytest

from tts_fm.batch import forms
from tts_fm.batch.lists import ListError, read_list
from tts_fm.cli.common import add_speaking_options
from tts_fm.cli.main import VERBS
from tts_fm.demo.commands import command_line, edit_line
from tts_fm.errors import MissingDependency
from tts_fm.settings import EVERYWHERE, METHODS, TABLE, Settings, as_text, offered

# A value for every setting that is not its default: made by hand, so that a new setting needs one here.
OTHER = {
    "steps": 7, "cfg": 1.25, "temperature": 0.6, "match": 0.5, "method": "heun", "sway": -0.5, "seed": 5, "speed": 1.5,
    "duration": 2.5, "lang": "en-gb", "loudness": -20.0, "chunk_seconds": 6.0, "cfg_interval": (0.25, 0.75),
    "cfg_rescale": 0.5, "cfg_audio": 0.75, "grid": (0.0, 0.125, 1.0), "normalise": "off", "first_seconds": 2.5,
    "subtitles_text": "spoken", "cfg_joint": 0.5, "cfg_audio_interval": (0.0, 0.125),
    "guide": "pitch=low:0.5,accent=gb", "attune": 0.25,
}  # fmt: skip


def test_every_field_is_in_the_table_with_what_a_user_must_know() -> None:
    assert list(TABLE) == [field.name for field in dataclasses.fields(Settings)] and set(OTHER) == set(TABLE) - {"item"}
    for name, setting in TABLE.items():
        assert setting.help and setting.default == getattr(Settings(), name)
        if not setting.places:
            continue
        assert setting.label and (setting.default is not None or setting.unset), name
        assert setting.choices or setting.pattern or setting.low is not None, f"{name} has neither range nor choices"
        assert setting.places == EVERYWHERE, f"{name} is offered in some places only"


def test_types_are_those_of_the_fields() -> None:
    hints = typing.get_type_hints(Settings)
    assert all(isinstance(OTHER[name], TABLE[name].type) for name in OTHER)
    assert hints["steps"] == int | None and TABLE["steps"].type is int
    assert hints["grid"] == tuple[float, ...] | None and TABLE["grid"].type is tuple
    assert hints["cfg_interval"] == tuple[float, float] and TABLE["cfg_interval"].type is tuple


@pytest.mark.parametrize("name", OTHER)
def test_ranges_are_kept_at_both_ends(name: str) -> None:
    setting = TABLE[name]
    Settings(**{name: OTHER[name]}).check()
    bad: list[object] = ["many", True, float("nan"), [[1]]]
    if setting.type is tuple:
        bad += [(), (0.0,), (0.0, 2.0), (-1.0, 1.0), (0.0, "x"), (0.0, float("inf"))]
    elif setting.low is not None:
        Settings(**{name: setting.type(setting.low)}).check()
        Settings(**{name: setting.type(setting.high)}).check()
        bad += [setting.low - 1, setting.high + 1, setting.high * 2 + 100]
    if setting.others:
        bad = bad[1:]
    for value in bad:
        with pytest.raises(ValueError, match=f"^{name} "):
            Settings(**{name: value}).check()


@pytest.mark.parametrize("name", OTHER)
def test_a_value_survives_being_written_as_text_and_as_json(name: str) -> None:
    setting = TABLE[name]
    assert setting.read(f" {as_text(OTHER[name])} ") == OTHER[name]
    assert setting.read(json.loads(json.dumps(OTHER[name]))) == OTHER[name]
    assert setting.read("  ") is None


# ---- the places


def parser(place: str) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser()
    add_speaking_options(made, place)
    return made


def test_the_command_line_offers_the_table() -> None:
    for place in ("cli", "edit"):
        options = {o: a for a in parser(place)._actions for o in a.option_strings if o not in ("-h", "--help")}
        others = {"--no-normalise", "--no-normalize"}  # shorter ways to say --normalise off
        assert [name for name in options if name not in others] == [setting.option for setting in offered(place)]
        for setting in offered(place):
            words = options[setting.option].help or ""
            assert setting.help in words and setting.range in words
            assert options[setting.option].default is None, "what is not given is not passed on"
    assert {s.name for s in offered("cli")} - {s.name for s in offered("edit")} == {
        "duration", "loudness", "match", "attune", "chunk_seconds", "first_seconds", "normalise",
        "subtitles_text",
    }  # fmt: skip


# Options of verbs that do not speak, which have a setting's name and another meaning: (verb, option).
OTHER_MEANING = {("align", "--lang"), ("adapt", "--lang"), ("adapt", "--seed")}
OTHER_MEANING |= {("words", "--lang"), ("score", "--lang"), ("score", "--seed"), ("score", "--steps")}


def test_no_verb_types_a_setting_anew() -> None:
    speaking = set()
    for verb, (module, _) in VERBS.items():
        subparsers = argparse.ArgumentParser().add_subparsers()
        import_module(module).add_parser(subparsers)
        options = subparsers.choices[verb]._option_string_actions
        for setting in offered("edit" if verb == "edit" else "cli"):
            if setting.option in options and (verb, setting.option) not in OTHER_MEANING:
                speaking.add(verb)
                assert options[setting.option].help == setting.description.replace("%", "%%"), (verb, setting.option)
        if verb in speaking:
            assert all(setting.option in options for setting in offered("edit" if verb == "edit" else "cli")), verb
    assert {"say", "batch", "edit", "eval"} <= speaking


def test_lists_take_the_table(tmp_path) -> None:
    assert set(forms.SETTINGS) == set(OTHER) and set(forms.FIELDS) == set(OTHER) | {
        "id", "text", "voice", "ref_audio", "ref_text",
    }  # fmt: skip
    for name, value in OTHER.items():
        (tmp_path / "a.jsonl").write_text(json.dumps({"text": "One.", name: value}))
        (tmp_path / "a.csv").write_text(f'text,{name}\nOne.,"{as_text(value)}"\n')
        for file in ("a.jsonl", "a.csv"):
            assert getattr(read_list(tmp_path / file).items[0].settings, name) == value
        (tmp_path / "a.jsonl").write_text(json.dumps({"text": "One.", name: {}}))
        with pytest.raises(ListError, match=name):
            read_list(tmp_path / "a.jsonl")


def test_the_servers_schema_is_the_table() -> None:
    pytest.importorskip("pydantic")
    from tts_fm.serve.schema import OpenAIRequest, SpeechRequest

    fields = SpeechRequest.model_json_schema()["properties"]
    assert set(fields) == set(OpenAIRequest.model_fields) | set(OTHER)
    assert not set(OpenAIRequest.model_fields) & set(OTHER)
    for name, value in OTHER.items():
        field, setting = fields[name], TABLE[name]
        told = field["anyOf"][0]
        assert field["anyOf"][1:] == [{"type": "null"}]
        assert field["default"] == json.loads(json.dumps(setting.default)) and setting.help in field["description"]
        if setting.choices:
            assert told["enum"] == list(setting.choices)
        elif setting.pattern:
            assert told["pattern"] == setting.pattern
        else:
            number = told["items"] if setting.type is tuple else told
            assert (number["minimum"], number["maximum"]) == (setting.low, setting.high)
        if setting.type is tuple:
            assert (told["minItems"], told["maxItems"]) == setting.counts
        body = {"input": "x", name: list(value) if isinstance(value, tuple) else value}
        assert getattr(SpeechRequest.model_validate(body).settings, name) == value
        assert SpeechRequest.model_validate(body | {name: None}).settings == Settings()
        if setting.type is not tuple:
            assert getattr(SpeechRequest.model_validate(body | {name: str(value).upper()}).settings, name) == value


def test_the_demo_offers_the_table(tmp_path) -> None:
    gr = pytest.importorskip("gradio")
    from tts_fm.demo.service import LIMITS
    from tts_fm.demo.widgets import sampling_inputs, setting_names

    class Model:
        defaults: typing.ClassVar = {"steps": 8, "cfg": 1.5}

    class Service:
        tts = Model()

    for tab in ("clone", "script", "batch", "edit"):
        with gr.Blocks():
            inputs = sampling_inputs(Service(), tab)  # type: ignore[arg-type]
        settings = offered("edit" if tab == "edit" else "demo")
        assert setting_names(tab) == [s.name for s in settings]
        for component, setting in zip(inputs, settings, strict=True):
            assert component.elem_id == f"{tab}-{setting.name.replace('_', '-')}"
            assert component.label.startswith(setting.label) and setting.help[1:] in component.info
            low, high = LIMITS.get(setting.name, (setting.low, setting.high))
            if isinstance(component, gr.Slider):
                assert low <= component.minimum <= component.value <= component.maximum <= high
            if setting.choices:
                assert [value for _, value in component.choices if value] == list(setting.choices)
        shown = {s.name: s.read(component.value) for component, s in zip(inputs, settings, strict=True)}
        given = Settings(**{name: value for name, value in shown.items() if value is not None})
        assert given == Settings(
            steps=8,
            cfg=1.5,
            temperature=1.0,
            match=0.0 if tab != "edit" else None,
            attune=0.0 if tab != "edit" else None,
        )


@pytest.mark.parametrize("name", OTHER)
def test_the_shown_command_line_says_every_setting(name: str) -> None:
    for line, place in ((command_line, "cli"), (edit_line, "edit")):
        words = line("Hello.", "ann", Settings(**{name: OTHER[name]})).split()
        options = dict.fromkeys(setting.name for setting in offered(place))
        if name not in options:
            assert TABLE[name].option not in words
            continue
        at = words.index(TABLE[name].option)
        assert vars(parser(place).parse_args(words[at : at + 2]))[name] == OTHER[name]
        assert sum(setting.option in words for setting in offered(place)) == 1


@pytest.mark.parametrize("name", OTHER)
def test_the_digest_of_a_batch_sees_every_setting(name: str, tmp_path) -> None:
    from tts_fm.batch.plan import item_digest
    from tts_fm.batch.rounds import Options

    (tmp_path / "a.txt").write_text("One.\n")

    def digest(settings: Settings) -> str:
        return item_digest(read_list(tmp_path / "a.txt", settings=settings).items[0], Options(), {None: "v"})

    assert (
        digest(Settings(**{name: OTHER[name]})) != digest(Settings()) == digest(Settings(**{name: TABLE[name].default}))
    )


# ---- what depends on several settings, and limits


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"grid": (0.0, 0.5, 0.5, 1.0)}, "grid must rise"),
        ({"grid": (0.1, 1.0)}, "grid must rise"),
        ({"grid": (0.0, 0.9)}, "grid must rise"),
        ({"grid": (0.0, 1e-50, 1.0)}, "grid must rise"),  # equal in float32
        ({"grid": (0.0, 0.5, 1.0), "steps": 3}, "2 steps"),
        ({"cfg_interval": (0.6, 0.5)}, "cfg_interval"),
        ({"cfg_audio": 1.0, "cfg_rescale": 0.5}, "cfg_rescale works with cfg alone"),
        ({"cfg_joint": 1.0, "cfg_rescale": 0.5}, "cfg_rescale works with cfg alone"),
        ({"cfg_joint": 1.0, "cfg_audio_interval": (0.0, 0.5)}, "leave it or cfg_joint out"),
        ({"cfg_audio_interval": (0.6, 0.5)}, "cfg_audio_interval is from, to"),
        ({"guide": "pitch"}, "guide must read NAME=CLASS:SCALE, as in pitch=low:1.0"),
        ({"guide": "pitch=low:-1"}, "guide must read"),
        ({"guide": "pitch=low,"}, "guide must read"),
        ({"guide": "pitch=low:10.5"}, "guide pitch=low must have a scale from 0 to 10, got 10.5"),
        ({"guide": "pitch=low", "method": "fitted"}, "guide cannot go with method fitted"),
        ({"method": "newton"}, "method must be one of euler, .*dopri5"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(given: dict, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Settings(**given).check()


def test_a_place_may_allow_less() -> None:
    for given in ({"steps": 33}, {"grid": tuple(i / 33 for i in range(34))}):
        with pytest.raises(ValueError, match="steps must be from 2 to 32 here, got 33; tts-fm say takes up to 256"):
            Settings(**given).check({"steps": (2, 32)})
    Settings().check({"steps": (2, 32)})


def test_a_solver_without_its_package_is_told(monkeypatch) -> None:
    monkeypatch.setattr("tts_fm.settings.find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"tts-fm\[ode\]"):
        Settings(method="dopri5").check()
    Settings(method="rk4").check()


def test_models_fill_only_what_was_not_given() -> None:
    model = {"steps": 8, "cfg": 1.5, "temperature": 0.6, "match": 1.0, "seed": 9, "lang": "en-gb"}
    assert Settings(cfg=0.0).with_defaults(model) == Settings(steps=8, cfg=0.0, temperature=0.6, match=1.0, attune=0.0)
    plain = Settings().with_defaults({})
    assert (plain.steps, plain.cfg, plain.temperature, plain.match) == (32, 2.0, 1.0, 0.0)
    assert Settings(grid=(0.0, 0.5, 1.0)).with_defaults(model).check().steps == 2
    student = {"steps": 2, "grid": [0.0, 0.4, 1.0]}
    assert Settings().with_defaults(student).check().grid == (0.0, 0.4, 1.0)
    assert Settings(steps=2).with_defaults(student).grid == (0.0, 0.4, 1.0)
    assert Settings(steps=4).with_defaults(student).grid is None
    assert Settings(method="heun").with_defaults(student).grid is None
    assert Settings(grid=(0.0, 0.7, 1.0)).with_defaults(student).grid == (0.0, 0.7, 1.0)
    assert Settings(grid=[0.0, 1.0]) == Settings(grid=(0.0, 1.0))  # type: ignore[arg-type]


# ---- forwards, counted in the network


CASES = [
    {"method": method, "steps": 4, **guidance}
    for method in METHODS
    if method not in ("dopri5", "fitted")  # the first is counted as it runs, the second needs a solver of its own
    for guidance in (
        {"cfg": 0.0}, {"cfg": 2.0}, {"cfg": 2.0, "cfg_interval": (0.1, 0.6)}, {"cfg": 2.0, "cfg_audio": 1.0},
        {"cfg": 2.0, "cfg_audio": 0.0}, {"cfg": 0.0, "cfg_audio": 1.0}, {"cfg": 2.0, "cfg_audio": 2.0},
        {"cfg": 1.0, "cfg_rescale": 0.5}, {"cfg": 2.0, "cfg_audio_interval": (0.0, 0.3)},
        {"cfg": 2.0, "cfg_audio": 1.0, "cfg_audio_interval": (0.2, 0.6), "cfg_interval": (0.1, 0.9)},
        {"cfg": 1.0, "cfg_audio": 2.0, "cfg_joint": 2.5},
    )
]  # fmt: skip
CASES += [
    {"cfg": 1.0, "grid": (0.0, 0.1, 0.2, 1.0), "steps": 3, "cfg_interval": (0.1, 0.2)},
    {"cfg": 1.0, "steps": 5, "cfg_interval": (1 / 16, 1.0), "sway": 0.0},  # a knot of EPSS, exact
    {"cfg": 1.0, "steps": 10, "cfg_interval": (0.1, 0.3), "sway": 0.0},
    {"cfg": 1.0, "steps": 3, "cfg_interval": (1 / 3, 2 / 3), "sway": 0.0},  # rounded to float32 on both sides
]


@pytest.mark.parametrize("given", CASES, ids=str)
def test_forwards_are_what_the_network_is_asked(given: dict) -> None:
    torch = pytest.importorskip("torch")
    from tiny_model import tiny_flow

    model, rows = tiny_flow().eval(), []
    model.net.register_forward_pre_hook(lambda net, inputs: rows.append(len(inputs[0])))
    settings = Settings(**given).with_defaults({}).check()
    model.sample(None, torch.tensor([[1, 2, 3]]), 12, **settings.solver(), durations=torch.tensor([[4.0, 4.0, 4.0]]))
    assert sum(rows) == settings.forwards()


def test_an_adaptive_solver_is_counted_by_the_times_at_which_it_asked() -> None:
    pytest.importorskip("torchdiffeq")
    torch = pytest.importorskip("torch")
    from tiny_model import tiny_flow

    model, rows, asked = tiny_flow().eval(), [], []
    model.net.register_forward_pre_hook(lambda net, inputs: rows.append(len(inputs[0])))
    settings = Settings(method="dopri5", cfg=1.0, cfg_interval=(0.2, 0.8)).with_defaults({}).check()
    model.sample(
        None, torch.tensor([[1, 2, 3]]), 12, **settings.solver(), durations=torch.tensor([[4.0, 4.0, 4.0]]),
        on_step=lambda step, time, mel: asked.append(time),
    )  # fmt: skip
    assert len(asked) > 6 and settings.forwards(asked) == sum(rows) and settings.adaptive


def test_keys_of_unlike_solvers_can_be_sorted() -> None:
    many = [Settings(**{name: value}).with_defaults({}) for name, value in OTHER.items()]
    keys = sorted({settings.solver_key() for settings in many})
    assert len(keys) == 1 + sum(TABLE[name].solver or name in ("cfg_audio", "cfg_joint") for name in OTHER)
