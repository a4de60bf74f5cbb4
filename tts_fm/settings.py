"""The settings of one request: the table that every place in which a user can set something is made from.

The options of the command line, the fields of lists, the server's schema, the demo's inputs, the digest of a batch and
the command line that the demo shows are read off this table; tests/test_settings.py holds them to it.

To add a setting, write one field of `Settings` with `entry(...)`: that is all that the places need. Then use it where
the request is carried out. A setting of the solver is marked `solver=True` and is an argument of model.sample of the
same name; if it changes how often the network is asked, `forwards` counts it. What depends on two settings is checked
in `Settings.check`.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

from tts_fm.errors import MissingDependency
from tts_fm.flow.tables import ADAPTIVE, FITTED, GUIDES, TABLES, branches, f5_points, float32, guides

# forwards of the velocity in one step; None = the solver chooses its steps itself
METHODS: dict[str, int | None] = {name: len(table.weights) for name, table in TABLES.items()} | dict.fromkeys(ADAPTIVE)
METHODS[FITTED] = 1
EVERYWHERE = ("cli", "list", "server", "demo")  # and always Python
KINDS = {int: "a whole number", float: "a number"}


@dataclass(frozen=True)
class Setting:
    """What is known of one field of Settings."""

    help: str  # one clause in the user's words, without its range and default
    label: str = ""  # its name in the demo
    low: float | None = None  # smallest and largest value; of every number where there are several
    high: float | None = None
    unit: str = ""
    choices: Mapping[str, str] = dataclasses.field(default_factory=dict)  # value -> what the demo calls it
    pattern: str = ""  # regular expression of the whole, of a text that is no choice
    form: str = ""  # the same in words
    others: bool = False  # whether values beside the choices may work
    counts: tuple[int, int] = (0, 0)  # how many numbers, at least and at most
    unset: str = ""  # what None means
    fallback: float | None = None  # the value where neither request nor model says one; None = models have no say
    solver: bool = False  # an argument of model.sample
    edits: bool = True  # whether it makes sense for a change in a recording
    places: tuple[str, ...] = EVERYWHERE
    slider: tuple[float, float, float] | None = None  # the demo's range and step
    folded: bool = True  # in the demo among those that are seldom changed
    metavar: str = "N"
    aliases: tuple[str, ...] = ()  # other names that lists use for it
    name: str = ""  # these three are taken from the field
    type: type = str  # int, float, str or tuple (of numbers)
    default: Any = None

    @property
    def option(self) -> str:
        """Its name on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def range(self) -> str:
        """What works, in words."""
        if self.choices:
            names = list(self.choices)
            return f"{', '.join(names)} and others" if self.others else f"{', '.join(names[:-1])} or {names[-1]}"
        if self.pattern:
            return self.form
        if self.type is tuple:
            least, most = self.counts
            count = str(least) if least == most else f"{least} to {most}"
            return f"{count} numbers from {as_text(self.low)} to {as_text(self.high)}"
        unit = f" {self.unit}" if self.unit else ""
        return "" if self.low is None else f"{as_text(self.low)} to {as_text(self.high)}{unit}"

    @property
    def description(self) -> str:
        """Help, range and default in one line."""
        default = self.unset if self.default is None else as_text(self.default)
        parts = [part for part in (self.range, f"default: {default}" if default else "") if part]
        return f"{self.help} ({'; '.join(parts)})" if parts else self.help

    def read(self, given: Any) -> Any:
        """A value as text, or as JSON has it, in the setting's type; what cannot be read stays as it is, and `check`
        says what would work. Empty text is None.
        """
        if isinstance(given, str):
            given = given.strip()
            if not given:
                return None
            try:
                if self.type is tuple:
                    return tuple(float(word) for word in given.replace(",", " ").split())
                return given.lower() if self.type is str else self.type(given)
            except ValueError:
                return given
        if self.type is int and isinstance(given, float) and given.is_integer():
            return int(given)
        if self.type is tuple and isinstance(given, list | tuple):
            return tuple(float(each) if type(each) is int else each for each in given)
        return given

    def check(self, value: Any) -> None:
        """Raise ValueError, naming what works, for a value of the wrong type or out of range."""
        if value is None and self.default is None:
            return
        if self.pattern:
            if isinstance(value, str) and re.fullmatch(self.pattern, value):
                return
            wanted = f"must read {self.form}"
        elif self.type is str:
            if isinstance(value, str) and (value in self.choices or self.others or not self.choices):
                return
            wanted = "must be text" if self.others or not self.choices else f"must be one of {', '.join(self.choices)}"
        elif self.type is tuple:
            least, most = self.counts
            if isinstance(value, tuple) and least <= len(value) <= most and all(map(self._inside, value)):
                return
            wanted = f"must be {self.range}"
        elif self._inside(value):
            return
        else:
            wanted = f"must be {KINDS[self.type]} from {as_text(self.low)} to {as_text(self.high)}"
        raise ValueError(f"{self.name} {wanted}, got {value!r}")

    def _inside(self, value: Any) -> bool:
        """Whether it is one finite number in the range."""
        if isinstance(value, bool) or not isinstance(value, int if self.type is int else int | float):
            return False
        assert self.low is not None and self.high is not None
        return self.low <= value <= self.high  # NaN is not


def entry(default: Any, help: str, **about: Any) -> Any:
    """A field of Settings; `about`: fields of Setting."""
    return dataclasses.field(default=default, metadata={"setting": Setting(help, default=default, **about)})


def _choices_of_methods() -> dict[str, str]:
    def cost(forwards: int | None) -> str:
        return "adaptive" if forwards is None else f"{forwards} forward{'s' * (forwards > 1)} a step"

    return {name: f"{name} ({cost(forwards)})" for name, forwards in METHODS.items()}


@dataclass(frozen=True)
class Settings:
    """How to speak. None means "not given": the model's own default, or what the entry says; 0 is a value."""

    steps: int | None = entry(
        None, "solver steps: more is better and slower", label="Solver steps", low=1, high=256, fallback=32,
        unset="the model's", solver=True, slider=(1, 64, 1), folded=False, aliases=("nfe_step",),
    )  # fmt: skip
    cfg: float | None = entry(
        None, "classifier-free guidance, how strictly text and voice are followed: 0 is off, 1 to 3 are usual",
        label="Guidance (cfg)", low=0, high=20, fallback=2.0, unset="the model's", solver=True, slider=(0, 5, 0.1),
        folded=False, metavar="W", aliases=("cfg_strength",),
    )  # fmt: skip
    speed: float = entry(
        1.0, "pace: 2 is twice as fast", label="Speed", low=0.25, high=4, slider=(0.5, 2, 0.05), folded=False,
        metavar="R",
    )  # fmt: skip
    seed: int = entry(
        0, "the same seed, text and voice give the same audio", label="Seed", low=0, high=2**63 - 1, folded=False,
        metavar="S",
    )  # fmt: skip
    method: str = entry(
        "euler", "how the solver goes from noise to speech", label="Solver", choices=_choices_of_methods(), solver=True,
        folded=False, metavar="NAME",
    )  # fmt: skip
    lang: str | None = entry(
        None, "accent of the phones", label="Accent", unset="the voice's",
        choices={"en-us": "American English", "en-gb": "British English"}, others=True, folded=False, metavar="CODE",
        aliases=("language", "language_id"),
    )  # fmt: skip
    temperature: float | None = entry(
        None, "standard deviation of the noise: below 1 smoother and less varied", label="Temperature", low=0, high=2,
        fallback=1.0, unset="the model's", solver=True, slider=(0, 1.5, 0.05), metavar="T",
    )  # fmt: skip
    match: float | None = entry(
        None, "how far the statistics of the spectrum are moved to those of the prompt", label="Match the prompt",
        low=0, high=1, fallback=0.0, unset="the model's", edits=False, slider=(0, 1, 0.05), metavar="M",
    )  # fmt: skip
    attune: float | None = entry(
        None, "how far the last layer is fitted to a recording: 0 saves the second it takes",
        label="Attune to the recording", low=0, high=1, fallback=0.0, unset="the model's", edits=False,
        slider=(0, 1, 0.05), metavar="A",
    )  # fmt: skip
    sway: float = entry(
        -1.0, "where the steps lie: -1 near the noise, 0 evenly", label="Sway", low=-1, high=1, solver=True,
        slider=(-1, 1, 0.05), metavar="S", aliases=("sway_sampling_coef",),
    )  # fmt: skip
    grid: tuple[float, ...] | None = entry(
        None, "own times of the solver from 0 (noise) to 1 (speech), instead of steps and sway", label="Own times",
        low=0, high=1, counts=(2, 257), unset="made from steps and sway", solver=True, metavar="T,T,...",
    )  # fmt: skip
    cfg_audio: float | None = entry(
        None, "guidance towards the voice alone; cfg is then the one towards the words", label="Guidance to the voice",
        low=0, high=20, unset="as cfg", metavar="W",
    )  # fmt: skip
    cfg_audio_interval: tuple[float, float] = entry(
        (0.0, 1.0), "flow times between which the voice is guided too; 0,0.08: full guidance first, then to the words",
        label="Guidance to the voice from, to", low=0, high=1, counts=(2, 2), solver=True, metavar="LOW,HIGH",
    )  # fmt: skip
    cfg_joint: float | None = entry(
        None, "guidance towards words and voice together; cfg_audio is then added to cfg, and is 0 unless given",
        label="Joint guidance", low=0, high=20, unset="off", metavar="W",
    )  # fmt: skip
    cfg_interval: tuple[float, float] = entry(
        (0.0, 1.0), "flow times between which guidance acts; 0 is noise, 1 is speech", label="Guidance from, to",
        low=0, high=1, counts=(2, 2), solver=True, metavar="LOW,HIGH",
    )  # fmt: skip
    cfg_rescale: float = entry(
        0.0, "how much of the contrast that guidance adds is taken back", label="Guidance rescale", low=0, high=1,
        solver=True, slider=(0, 1, 0.05), metavar="R",
    )  # fmt: skip
    guide: str | None = entry(
        None, "what the speech is pulled to by the model's classifier, on the torch engine; the number is how strongly",
        label="Guide", pattern=GUIDES, form="NAME=CLASS:SCALE, as in pitch=low:1.0 or accent=gb:0.5,pitch=high:2",
        unset="nothing", solver=True, metavar="NAME=CLASS:SCALE,...",
    )  # fmt: skip
    duration: float | None = entry(
        None, "length of the whole", label="Duration", low=0.1, high=6 * 3600, unit="seconds",
        unset="the model's estimate", edits=False, metavar="SECONDS",
    )  # fmt: skip
    loudness: float | None = entry(
        None, "loudness of the result, to which every chunk is brought", label="Loudness", low=-40, high=-9,
        unit="LUFS", unset="as spoken", edits=False, metavar="LUFS",
    )  # fmt: skip
    chunk_seconds: float = entry(
        12.0, "longest stretch that is spoken in one go; shorter is heard sooner", label="Longest chunk", low=2,
        high=25, unit="seconds", edits=False, slider=(2, 25, 0.5), metavar="SECONDS",
    )  # fmt: skip
    first_seconds: float = entry(
        4.0, "about the same for the first chunk, which decides how soon something is heard; a longer sentence is cut "
        "at a comma, else between words, if it is more than twice as long",
        label="Longest first chunk", low=1, high=25, unit="seconds", edits=False, slider=(1, 25, 0.5),
        metavar="SECONDS",
    )  # fmt: skip
    normalise: str = entry(
        "on", "whether numbers, dates, abbreviations and signs are written out before they are spoken",
        label="Write out numbers", choices={"on": "on", "off": "off: the text is spoken as it is"}, edits=False,
        metavar="on|off",
    )  # fmt: skip
    subtitles_text: str = entry(
        "written", "what subtitles hold", label="Subtitles hold",
        choices={"written": "the words as written", "spoken": "the words as spoken"}, edits=False,
        metavar="written|spoken",
    )  # fmt: skip
    item: str = entry("", "an id that is mixed into the seed, so that the items of a list differ", places=())

    def __post_init__(self) -> None:
        for name in ("grid", "cfg_interval", "cfg_audio_interval"):
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))

    def with_defaults(self, defaults: Mapping[str, Any]) -> Settings:
        """Fill what models have a say in (`fallback`) from a model's defaults, or as F5-TTS where it has none; a grid
        sets `steps`. A model's own grid is taken where it has as many steps, and nothing else says where they lie.
        """
        own, plain = defaults.get("grid"), (self.grid, self.sway, self.method) == (None, -1.0, "euler")
        if own and plain and self.steps in (None, len(own) - 1):
            return replace(self, grid=tuple(own)).with_defaults(defaults)
        steps = self.steps if self.grid is None or self.steps is not None else len(self.grid) - 1
        filled = {
            name: defaults.get(name, setting.fallback)
            for name, setting in TABLE.items()
            if setting.fallback is not None and getattr(self, name) is None
        }
        return replace(self, **(filled | ({"steps": steps} if steps is not None else {})))

    def check(self, limits: Mapping[str, tuple[float, float]] | None = None) -> Settings:
        """Raise ValueError for a value that cannot work, MissingDependency for an adaptive solver without its package;
        the first word of the message is the field's name. limits: narrower ranges of the place that asks.
        """
        for name, setting in TABLE.items():
            setting.check(getattr(self, name))
        for name, (low, high) in (limits or {}).items():
            value = self.intervals if name == "steps" else getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ValueError(
                    f"{name} must be from {low:g} to {high:g} here, got {value:g}; "
                    f"tts-fm say takes up to {TABLE[name].high:g}"
                )
        self._check_grid()
        for name in ("cfg_interval", "cfg_audio_interval"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} is from, to: the second must not be smaller, got {low:g},{high:g}")
        self._check_guidance()
        if self.method == FITTED and self.grid is not None:
            raise ValueError("method fitted has its own times; leave grid out")
        if self.method in ADAPTIVE and find_spec("torchdiffeq") is None:
            raise MissingDependency(f"method {self.method} needs: pip install 'tts-fm[ode]'; rk4 does without")
        return self

    def _check_guidance(self) -> None:
        if self.cfg_rescale and isinstance(self.scales, tuple):
            raise ValueError("cfg_rescale works with cfg alone; leave it out, or what guides the voice apart")
        if self.cfg_joint is not None and self.cfg_audio_interval != (0.0, 1.0):
            raise ValueError("cfg_audio_interval works with cfg and cfg_audio; leave it or cfg_joint out")
        if guides(self.guide) and self.method == FITTED:
            raise ValueError("guide cannot go with method fitted, which was fitted to the field without it")

    def _check_grid(self) -> None:
        grid = self.grid
        if grid is None:
            return
        times = [float32(t) for t in grid]
        if times[0] != 0 or times[-1] != 1 or not all(a < b for a, b in itertools.pairwise(times)):
            raise ValueError(f"grid must rise from 0 to 1, as in 0,0.1,0.4,1; got {as_text(grid)}")
        if self.steps is not None and self.steps != len(grid) - 1:
            raise ValueError(
                f"grid has {len(grid)} times, so {len(grid) - 1} steps, but steps is {self.steps}; leave steps out"
            )

    @property
    def intervals(self) -> int | None:
        """Steps of the solver, whether counted or given as a grid."""
        return self.steps if self.grid is None else len(self.grid) - 1

    def forwards(self, asked: Sequence[float] = ()) -> int:
        """Network forwards for one chunk; after `with_defaults`. A guided evaluation counts as two, or as three where
        words and voice are guided apart. asked: the flow times at which an adaptive solver evaluated the velocity,
        whose number is not known beforehand.
        """
        if self.method not in ADAPTIVE:
            grid = [float32(t) for t in (self.grid or f5_points(self.steps or 1, self.sway))]
            nodes = TABLES["euler" if self.method == FITTED else self.method].nodes
            asked = [start + node * (end - start) for start, end in itertools.pairwise(grid) for node in nodes]
        return sum(branches(float32(t), self.scales, self.cfg_interval, self.cfg_audio_interval) for t in asked)

    @property
    def scales(self) -> Any:
        """How strong guidance is: one number; (words, voice) where they are guided apart; (both, voice, joint)."""
        if self.cfg_joint is not None:
            return self.cfg, self.cfg_audio or 0.0, self.cfg_joint
        if self.cfg_audio is None and self.cfg_audio_interval == (0.0, 1.0):
            return self.cfg
        return self.cfg, self.cfg if self.cfg_audio is None else self.cfg_audio

    def solver(self) -> dict[str, Any]:
        """The options of model.sample; after `with_defaults`."""
        return {name: getattr(self, name) for name, setting in TABLE.items() if setting.solver} | {"cfg": self.scales}

    def solver_key(self) -> tuple[str, ...]:
        """What items must share to be solved in one batch; keys can be sorted."""
        return tuple(map(repr, self.solver().values()))

    def going_on(self) -> Settings:
        """The same for a text behind another, for whose first chunk nobody waits."""
        return replace(self, first_seconds=self.chunk_seconds)

    @property
    def adaptive(self) -> bool:
        """Whether the solver chooses its steps by what it solves, so that only an item alone is reproducible."""
        return self.method in ADAPTIVE

    def changed(self) -> dict[str, Any]:
        """The fields that differ from their defaults: what a digest keeps, so that a new setting leaves old digests as
        they are.
        """
        return {name: value for name in TABLE if (value := getattr(self, name)) != TABLE[name].default}


def as_text(value: Any) -> str:
    """A value as `Setting.read` reads it."""
    if isinstance(value, tuple):
        return ",".join(map(as_text, value))
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def offered(place: str) -> tuple[Setting, ...]:
    """The settings that a place offers: one of EVERYWHERE, or "edit"."""
    if place == "edit":
        return tuple(setting for setting in TABLE.values() if setting.places and setting.edits)
    return tuple(setting for setting in TABLE.values() if place in setting.places)


def _table() -> dict[str, Setting]:
    def kind(hint: Any) -> type:
        plain = next((part for part in typing.get_args(hint) if part is not type(None)), hint)
        return typing.get_origin(plain) or plain if typing.get_origin(hint) is not tuple else tuple

    hints = typing.get_type_hints(Settings)
    return {
        field.name: replace(field.metadata["setting"], name=field.name, type=kind(hints[field.name]))
        for field in dataclasses.fields(Settings)
    }


TABLE: dict[str, Setting] = _table()
