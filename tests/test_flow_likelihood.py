"""Likelihood against the density of a mixture, whose flow is known exactly."""

from __future__ import annotations

import pytest
import torch
from flow_toys import Mixture

from tts_fm.flow import ClassifierGuidance, guided, log_likelihood, make_path
from tts_fm.flow.likelihood import flow_error


def on_frames(toy: Mixture):
    """The mixture's field for data (B, T, 2), every frame a point of its own."""

    def velocity(x, t):
        flat = toy.velocity(x.double().flatten(0, 1), t.double().repeat_interleave(x.shape[1]))
        return flat.reshape(x.shape).to(x.dtype)

    return velocity


def points(toy: Mixture, shape: tuple[int, int]):
    x1, _ = toy.draw(shape[0] * shape[1], torch.Generator().manual_seed(0))
    return x1.reshape(*shape, 2)


def true_log_p(toy: Mixture, x1, path):
    """Of x1 with the noise that is left where the path ends."""
    return toy.log_density(x1, torch.full(x1.shape[:-1], path.end, dtype=torch.float64)).sum(1)


# the noise that VE starts from only hides the data's mean when it is very wide
@pytest.mark.parametrize("name", ["ot", "ot(0.01)", "cosine", "vp(0.1, 20)", "ve(0.05, 500)"])
def test_exact_likelihood_is_the_mixtures_density(name):
    path = make_path(name)
    toy = Mixture(path)
    x1 = points(toy, (6, 1))
    found = log_likelihood(on_frames(toy), x1, path=path, steps=200, method="midpoint", exact=True)
    assert torch.allclose(found, true_log_p(toy, x1, path), atol=1e-2)


def test_hutchinson_is_unbiased():
    path = make_path("ot")
    toy = Mixture(path)
    x1 = points(toy, (1, 1))
    exact = log_likelihood(on_frames(toy), x1, steps=20, exact=True)
    each = log_likelihood(on_frames(toy), x1.repeat(200, 1, 1), steps=20, seed=range(200))
    assert each.std() > 0.01  # the estimate does vary
    assert abs(each.mean() - exact[0]) < 3 * each.std() / 200**0.5


@pytest.mark.parametrize("exact", [True, False])
def test_padding_and_neighbours_change_nothing(exact):
    toy = Mixture(make_path("ot"))
    x1 = points(toy, (2, 3))
    alone = torch.cat([log_likelihood(on_frames(toy), x1[b : b + 1], steps=10, exact=exact) for b in range(2)])
    padded = torch.cat([x1, torch.full((2, 2, 2), 5.0, dtype=x1.dtype)], dim=1)
    mask = torch.tensor([[True] * 3 + [False] * 2] * 2)
    assert torch.allclose(log_likelihood(on_frames(toy), padded, steps=10, mask=mask, exact=exact), alone, atol=1e-9)


def test_the_true_mode_explains_a_point_best():
    toy = Mixture(make_path("ot"))
    x1 = toy.means[:, None]  # one item in the middle of each mode
    mask = torch.ones(3, 1, dtype=torch.bool)

    def field(mode):
        def velocity(x, t):
            return toy.velocity_of_mode(x[:, 0], t.double(), mode)[:, None]

        return velocity

    errors = torch.stack([flow_error(field(mode), x1, mask, draws=16) for mode in range(3)])
    assert errors.argmin(0).tolist() == [0, 1, 2]


def test_what_is_refused():
    toy = Mixture(make_path("ot"))
    field, x1 = on_frames(toy), points(toy, (2, 1))
    with pytest.raises(ValueError, match="unguided"):
        log_likelihood(guided(lambda x, t, need: (field(x, t), field(x, t)), 1.0), x1)
    with pytest.raises(ValueError, match="unguided"):
        log_likelihood(ClassifierGuidance(field, lambda x, t: x.flatten(1).sum(1)), x1)
    log_likelihood(guided(lambda x, t, need: (field(x, t), None), 0.0), x1, steps=2)
    with pytest.raises(ValueError, match="fixed grid"):
        log_likelihood(field, x1, method="dopri5")
    with pytest.raises(ValueError, match="exact divergence"):
        log_likelihood(field, torch.zeros(1, 300, 2), exact=True)
    with pytest.raises(ValueError, match="mask"):
        log_likelihood(field, x1, mask=torch.ones(2, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match="one seed"):
        log_likelihood(field, x1, seed=[1, 2, 3])
