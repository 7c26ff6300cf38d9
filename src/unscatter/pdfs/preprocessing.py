"""The known behaviour of densities at both ends of the range, which flexible parametrisations are multiplied by."""

from __future__ import annotations

import torch
from torch import Tensor

from unscatter.physics.parton_shapes import power_shape

#: Powers (b, c) of x^b (1 - x)^c per component: Regge behaviour at small x, counting rules at large x, softened by evolution.
POWERS = {
    "uv": (0.6, 3.5),
    "dv": (0.6, 4.5),
    "g": (-0.1, 5.0),
    "ubar": (-0.15, 7.0),
    "dbar": (-0.15, 7.0),
    "s+": (-0.15, 7.0),
    "c+": (-0.15, 7.0),
}


def preprocess(learnt: Tensor, x: Tensor, positivity: bool) -> Tensor:
    """Shapes of the components from what is learnt, ``[..., component, points]``."""
    powers = x.new_tensor(list(POWERS.values()))
    factor = torch.exp(learnt) if positivity else 1 + learnt
    return power_shape(x, powers[:, 0], powers[:, 1]) * factor
