"""A look ahead at what is computed when a fit is over."""

from __future__ import annotations

import torch

from unscatter.errors import TheoryError
from unscatter.pipeline.problem import Problem


def check_outlook(problem: Problem) -> None:
    """Refuse curves and measurements that would fail when the fit is over, at the price of one evaluation each.

    Raises:
        TheoryError: a function returns another shape than it should, or values that are not finite.
    """
    parameters = problem.space.to_parameters(problem.start_latent).expand(2, -1)
    wanted = {f"the curves '{family.name}'": (family.function, (2, len(family.curves), len(family.abscissa))) for family in problem.curves}
    wanted |= {f"the measurement '{m.name}'": (m.predict, (2, len(m.values))) for m in problem.measurements}
    for what, (function, shape) in wanted.items():
        with torch.no_grad():
            values = function(parameters)
        if tuple(values.shape) != shape:
            raise TheoryError(f"{what} must give the shape {list(shape)} for two sets of parameters, got {list(values.shape)}.")
        if not bool(torch.isfinite(values).all()):
            raise TheoryError(f"{what} is not finite at the start, {dict(zip(problem.space.names, parameters[0].tolist(), strict=True))}.")
