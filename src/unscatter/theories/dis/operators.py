r"""From the few stored kernels to operators on the eight fitted densities.

Massless quarks differ only in their charges, so that evolution from the starting scale needs few kernels :math:`K` on the nodes in x:

.. math::
    q_i \pm \bar q_i \;&\to\; K_\pm (q_i \pm \bar q_i) + \{K_{qS}\,\Sigma + K_{qg}\,g \,\mid\, K_{qV}\,V\}, \\
    b \pm \bar b \;&\to\; \{K_{bS}\,\Sigma + K_{bg}\,g \,\mid\, K_{bV}\,V\}, \\
    g \;&\to\; K_{gS}\,\Sigma + K_{gg}\,g,

with :math:`\Sigma = \sum_i (q_i + \bar q_i)` and :math:`V = \sum_i (q_i - \bar q_i)`.  Structure functions follow from the evolved partons
:math:`f_p` of all :math:`n_f` flavours,

.. math:: F = C_+ \sum_p \tfrac{w_p + w_{\bar p}}{2} f_p + C_- \sum_p \tfrac{w_p - w_{\bar p}}{2} f_p
          + \Bigl(\tfrac12 \sum_p w_p\Bigr) (C_S\,\Sigma + C_g\,g),

where the couplings :math:`w_p` depend on the exchanged boson.

References:
    Salam and Rojo, arXiv:0804.3755, section 2: singlet, valence and non-singlet combinations, table 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from unscatter.errors import SettingsError
from unscatter.files import did_you_mean
from unscatter.pdfs.flavours import FIT_FLAVOURS, PDG_IDS, TARGETS

#: Structure functions by what is measured and by the exchanged boson, as in ``F2_em``; the photon alone has no xF3.
STRUCTURE_FUNCTIONS: tuple[str, ...] = tuple(
    f"{observable}_{boson}"
    for observable in ("F2", "FL", "xF3")
    for boson in ("em", "gZ", "Z", "Wp", "Wm")
    if (observable, boson) != ("xF3", "em")
)

_UP_TYPE, _DOWN_TYPE = (2, 4), (1, 3, 5)
_QUARKS = (1, 2, 3, 4, 5)


def _input_vector(weight: Callable[[int], float]) -> Tensor:
    """Weights of the eight densities, given those of quarks by number; ``c+`` counts half of charm and half of its antiquark."""
    numbers = {"d": 1, "u": 2, "s": 3, "dbar": -1, "ubar": -2, "sbar": -3}
    values = [0.0 if name == "g" else (weight(4) + weight(-4)) / 2 if name == "c+" else weight(numbers[name]) for name in FIT_FLAVOURS]
    return torch.tensor(values, dtype=torch.float64)


def _parton_vector(weight: Callable[[int], float]) -> Tensor:
    """Weights of the partons in the order of ``PDG_IDS``, given those of quarks by number."""
    return torch.tensor([0.0 if number == 21 else weight(number) for number in PDG_IDS], dtype=torch.float64)


def _unit(names: tuple[object, ...], name: object) -> Tensor:
    return torch.tensor([float(other == name) for other in names], dtype=torch.float64)


def _sign(number: int) -> float:
    return 1.0 if number > 0 else -1.0


def _evolution_flavours() -> dict[str, Tensor]:
    """How each kernel of the evolution acts on flavours: ``[parton, density]``."""
    light = [number for number in PDG_IDS if abs(number) < 5]
    half_light = _parton_vector(lambda number: 0.5 * (abs(number) < 5))
    half_bottom = _parton_vector(lambda number: 0.5 * (abs(number) == 5))
    signs = _parton_vector(_sign)
    gluon_out, gluon_in = _unit(PDG_IDS, 21), _unit(FIT_FLAVOURS, "g")
    singlet, valence = _input_vector(lambda _: 1.0), _input_vector(_sign)

    def diagonal(antiquark_sign: float) -> Tensor:
        def content(parton: int) -> Tensor:
            return _input_vector(lambda number: 0.5 * (number == parton) + 0.5 * antiquark_sign * (number == -parton))

        zero = torch.zeros(len(FIT_FLAVOURS), dtype=torch.float64)
        return torch.stack([content(number) if number in light else zero for number in PDG_IDS])

    return {
        "plus": diagonal(1.0),
        "minus": diagonal(-1.0),
        "quark_singlet": torch.outer(half_light, singlet),
        "quark_gluon": torch.outer(half_light, gluon_in),
        "quark_valence": torch.outer(half_light * signs, valence),
        "bottom_singlet": torch.outer(half_bottom, singlet),
        "bottom_gluon": torch.outer(half_bottom, gluon_in),
        "bottom_valence": torch.outer(half_bottom * signs, valence),
        "gluon_singlet": torch.outer(gluon_out, singlet),
        "gluon_gluon": torch.outer(gluon_out, gluon_in),
    }


#: How each kernel of the evolution acts on flavours: ``[parton, density]`` by the kernel's name.
EVOLUTION_FLAVOURS: Mapping[str, Tensor] = _evolution_flavours()


def couplings(name: str, num_flavours: int, sin2_theta_W: float) -> Tensor:
    r"""Weights of the partons in a structure function at leading order, ``[11]`` in the order of ``PDG_IDS``.

    =========  ==========================================  ==========================================
    boson      F2 and FL, of quark and antiquark           xF3, of quark; the antiquark's is opposite
    =========  ==========================================  ==========================================
    ``em``     :math:`e_q^2`                               none
    ``gZ``     :math:`2 e_q v_q`                           :math:`2 e_q a_q`
    ``Z``      :math:`v_q^2 + a_q^2`                       :math:`2 v_q a_q`
    ``Wp``     1 for d, s and for anti-u, anti-c           1 for d, s and -1 for anti-u, anti-c
    ``Wm``     1 for u, c and for anti-d, anti-s           1 for u, c and -1 for anti-d, anti-s
    =========  ==========================================  ==========================================

    with :math:`v_q = T_q - 2 e_q \sin^2\theta_W` and :math:`a_q = T_q`, :math:`T_u = \tfrac12`, :math:`T_d = -\tfrac12`.
    Propagators and the couplings of the lepton are not included.  ``Wp`` is the exchange in e+ p scattering; charged currents have no
    factor 2 (the convention of HERA, half of that of the Particle Data Group), a unit mixing matrix and no bottom quark.

    References:
        Particle Data Group, Structure functions, eqs. (18.17) to (18.19); H1 and ZEUS, arXiv:1506.06042, eqs. (5) to (14).

    Example:
        >>> couplings("F2_em", 4, 0.23)[PDG_IDS.index(2)].item() == 4 / 9
        True
    """
    observable, boson = _parts(name)
    weights = {number: _coupling(observable, boson, number, sin2_theta_W) for number in PDG_IDS if 0 < abs(number) <= num_flavours}
    return _parton_vector(lambda number: weights.get(number, 0.0))


def _parts(name: str) -> tuple[str, str]:
    if name not in STRUCTURE_FUNCTIONS:
        raise SettingsError(
            f"there is no structure function '{name}'.{did_you_mean(name, STRUCTURE_FUNCTIONS)} Known are {', '.join(STRUCTURE_FUNCTIONS)}."
        )
    observable, _, boson = name.partition("_")
    return observable, boson


def _coupling(observable: str, boson: str, number: int, sin2_theta_W: float) -> float:
    is_up, sign = abs(number) in _UP_TYPE, _sign(number) if observable == "xF3" else 1.0
    charge, isospin = (2 / 3, 0.5) if is_up else (-1 / 3, -0.5)
    vector, axial = isospin - 2 * charge * sin2_theta_W, isospin
    match observable, boson:
        case _, "em":
            return charge**2
        case _, "Wp" | "Wm":
            takes_part = (is_up == (number > 0)) == (boson == "Wm") and abs(number) != 5
            return sign * takes_part
        case "xF3", _:
            return sign * 2 * axial * (charge if boson == "gZ" else vector)
        case _:
            return 2 * charge * vector if boson == "gZ" else vector**2 + axial**2


def coefficient_flavours(weights: Tensor, num_flavours: int) -> dict[str, Tensor]:
    """How each coefficient function acts on evolved partons: ``[11]`` by its name, without those that vanish."""
    reflected = weights.flip(0)
    active = _parton_vector(lambda number: float(abs(number) <= num_flavours))
    total = weights.sum() / 2
    flavours = {
        "plus": (weights + reflected) / 2,
        "minus": (weights - reflected) / 2,
        "singlet": total * active,
        "gluon": total * _unit(PDG_IDS, 21),
    }
    return {name: flavour for name, flavour in flavours.items() if flavour.abs().max() > 1e-12}


def on_target(operator: Tensor, target: str, axis: int) -> Tensor:
    """Turn an operator on the densities of the proton from a proton target to another one.

    The neutron's u is the proton's d and the other way round; the deuteron is the mean of proton and neutron, per nucleon and without
    nuclear corrections.

    Args:
        operator: any shape, with the eight densities on ``axis``.
        target: proton, neutron or deuteron.
        axis: where the densities stand.
    """
    if target not in TARGETS:
        raise SettingsError(f"there is no target '{target}'.{did_you_mean(target, TARGETS)} Known are {', '.join(TARGETS)}.")
    if target == "proton":
        return operator
    swap = {"u": "d", "d": "u", "ubar": "dbar", "dbar": "ubar"}
    order = torch.tensor([FIT_FLAVOURS.index(swap.get(name, name)) for name in FIT_FLAVOURS])
    neutron = operator.index_select(axis, order)
    return neutron if target == "neutron" else (operator + neutron) / 2
