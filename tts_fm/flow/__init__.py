"""Flow matching, with no speech in it: t = 0 is noise, t = 1 is data, the velocity points from noise to data.

path (how noise becomes data), times (which t to train on, which grid to solve on), coupling (which noise with which
data), loss (what the network learns), solvers (how a velocity becomes a sample), guidance (how conditions are made
stronger). `cfg` 0 is off. Imports torch and nothing of ours.
"""

from .coupling import couple, independent, minibatch_ot, seeded_pairs
from .guidance import ClassifierGuidance, cfg, guided, guided_split
from .loss import Loss, cfm_loss
from .path import CosinePath, OTPath, Path, VEPath, VPPath
from .solvers import nfe, solve
from .times import draw_times, f5_grid, logit_normal, mode, time_grid, uniform_times

__all__ = [
    "ClassifierGuidance",
    "CosinePath",
    "Loss",
    "OTPath",
    "Path",
    "VEPath",
    "VPPath",
    "cfg",
    "cfm_loss",
    "couple",
    "draw_times",
    "f5_grid",
    "guided",
    "guided_split",
    "independent",
    "logit_normal",
    "minibatch_ot",
    "mode",
    "nfe",
    "seeded_pairs",
    "solve",
    "time_grid",
    "uniform_times",
]
