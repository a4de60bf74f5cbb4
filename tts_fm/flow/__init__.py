"""Flow matching, with no speech in it: t = 0 is noise, t = 1 is data, the velocity points from noise to data.

path (how noise becomes data), times (which t to train on, which grid to solve on), coupling (which noise with which
data), loss (what the network learns), solvers (how a velocity becomes a sample), guidance (how conditions are made
stronger). `cfg` 0 is off. Imports torch when something of it is used, and
nothing of ours.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .coupling import couple as couple
    from .coupling import independent as independent
    from .coupling import minibatch_ot as minibatch_ot
    from .coupling import seeded_pairs as seeded_pairs
    from .guidance import ClassifierGuidance as ClassifierGuidance
    from .guidance import cfg as cfg
    from .guidance import guided as guided
    from .guidance import guided_split as guided_split
    from .loss import Loss as Loss
    from .loss import cfm_loss as cfm_loss
    from .path import CosinePath as CosinePath
    from .path import OTPath as OTPath
    from .path import Path as Path
    from .path import VEPath as VEPath
    from .path import VPPath as VPPath
    from .solvers import nfe as nfe
    from .solvers import solve as solve
    from .times import draw_times as draw_times
    from .times import f5_grid as f5_grid
    from .times import logit_normal as logit_normal
    from .times import mode as mode
    from .times import time_grid as time_grid
    from .times import uniform_times as uniform_times

NAMES = {
    "coupling": "couple independent minibatch_ot seeded_pairs",
    "guidance": "ClassifierGuidance cfg guided guided_split",
    "loss": "Loss cfm_loss",
    "path": "CosinePath OTPath Path VEPath VPPath",
    "solvers": "nfe solve",
    "times": "draw_times f5_grid logit_normal mode time_grid uniform_times",
}
HOMES = {name: module for module, its in NAMES.items() for name in its.split()}
__all__ = sorted(HOMES)


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *HOMES})
