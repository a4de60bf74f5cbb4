"""Flow matching, with no speech in it: t = 0 is noise, t = 1 is data, the velocity points from noise to data.

path (how noise becomes data), times (which t to train on, which grid to solve on), coupling (which noise with which
data), loss (what the network learns), solvers (how a velocity becomes a sample), fitted (solvers fitted to one field),
straighten (students that take few steps), guidance (how conditions are made stronger), likelihood (how probable data
is). `cfg` 0 is off. Imports torch when something of it is used, and nothing of ours.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .coupling import couple as couple
    from .coupling import independent as independent
    from .coupling import minibatch_ot as minibatch_ot
    from .coupling import seeded_pairs as seeded_pairs
    from .fitted import FittedSolver as FittedSolver
    from .fitted import RowFit as RowFit
    from .fitted import fit_rows as fit_rows
    from .fitted import read_solvers as read_solvers
    from .fitted import refine as refine
    from .fitted import write_solvers as write_solvers
    from .guidance import ClassifierGuidance as ClassifierGuidance
    from .guidance import cfg as cfg
    from .guidance import guided as guided
    from .guidance import guided_joint as guided_joint
    from .guidance import guided_split as guided_split
    from .likelihood import flow_error as flow_error
    from .likelihood import log_likelihood as log_likelihood
    from .loss import Loss as Loss
    from .loss import cfm_loss as cfm_loss
    from .path import CosinePath as CosinePath
    from .path import OTPath as OTPath
    from .path import Path as Path
    from .path import VEPath as VEPath
    from .path import VPPath as VPPath
    from .path import along_path as along_path
    from .path import make_path as make_path
    from .path import path_name as path_name
    from .solvers import nfe as nfe
    from .solvers import solve as solve
    from .straighten import along as along
    from .straighten import distilled as distilled
    from .straighten import lesson_loss as lesson_loss
    from .straighten import reflow as reflow
    from .straighten import rollout_loss as rollout_loss
    from .straighten import search_times as search_times
    from .straighten import split as split
    from .straighten import straightness as straightness
    from .straighten import u_shaped as u_shaped
    from .straighten import walk as walk
    from .times import draw_times as draw_times
    from .times import f5_grid as f5_grid
    from .times import logit_normal as logit_normal
    from .times import mode as mode
    from .times import time_grid as time_grid
    from .times import uniform_times as uniform_times

NAMES = {
    "coupling": "couple independent minibatch_ot seeded_pairs",
    "fitted": "FittedSolver RowFit fit_rows read_solvers refine write_solvers",
    "guidance": "ClassifierGuidance cfg guided guided_joint guided_split",
    "likelihood": "flow_error log_likelihood",
    "loss": "Loss cfm_loss",
    "path": "CosinePath OTPath Path VEPath VPPath along_path make_path path_name",
    "solvers": "nfe solve",
    "straighten": "along distilled lesson_loss reflow rollout_loss search_times split straightness u_shaped walk",
    "times": "draw_times f5_grid logit_normal mode time_grid uniform_times",
}
HOMES = {name: module for module, its in NAMES.items() for name in its.split()}
__all__ = sorted(HOMES)  # noqa: PLE0605 - made of NAMES


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *HOMES})
