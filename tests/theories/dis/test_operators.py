from __future__ import annotations

import pytest
import torch

from unscatter.errors import SettingsError
from unscatter.pdfs.flavours import FIT_FLAVOURS, PDG_IDS
from unscatter.theories.dis.operators import EVOLUTION_FLAVOURS, STRUCTURE_FUNCTIONS, coefficient_flavours, couplings, on_target

SIN2 = 0.23
U, D, S, C, B = 2, 1, 3, 4, 5


def weight(name: str, number: int, num_flavours: int = 5) -> float:
    return couplings(name, num_flavours, SIN2)[PDG_IDS.index(number)].item()


def test_photon_couples_to_squared_charges() -> None:
    for quark, charge in ((D, -1 / 3), (U, 2 / 3), (S, -1 / 3), (C, 2 / 3), (B, -1 / 3)):
        assert weight("F2_em", quark) == weight("FL_em", -quark) == pytest.approx(charge**2)
    assert weight("F2_em", 21) == 0


@pytest.mark.parametrize(("quark", "charge", "isospin"), [(U, 2 / 3, 0.5), (D, -1 / 3, -0.5), (C, 2 / 3, 0.5), (B, -1 / 3, -0.5)])
def test_neutral_currents_have_the_couplings_of_the_standard_model(quark: int, charge: float, isospin: float) -> None:
    vector = isospin - 2 * charge * SIN2
    assert weight("F2_gZ", quark) == weight("F2_gZ", -quark) == pytest.approx(2 * charge * vector)
    assert weight("F2_Z", quark) == weight("F2_Z", -quark) == pytest.approx(vector**2 + isospin**2)
    assert weight("xF3_gZ", quark) == -weight("xF3_gZ", -quark) == pytest.approx(2 * charge * isospin)
    assert weight("xF3_Z", quark) == -weight("xF3_Z", -quark) == pytest.approx(2 * vector * isospin)


def test_w_bosons_change_the_charge_that_they_should() -> None:
    # e+ p: the W+ turns d into u and anti-u into anti-d; e- p the other way round.
    positive = {number for number in PDG_IDS if weight("F2_Wp", number) != 0}
    negative = {number for number in PDG_IDS if weight("F2_Wm", number) != 0}
    assert positive == {D, S, -U, -C}
    assert negative == {U, C, -D, -S}
    assert weight("xF3_Wp", D) == weight("xF3_Wm", U) == 1
    assert weight("xF3_Wp", -U) == weight("xF3_Wm", -D) == -1


def test_bottom_takes_no_part_below_its_mass() -> None:
    assert weight("F2_em", B, num_flavours=4) == 0
    assert weight("F2_em", C, num_flavours=4) > 0


@pytest.mark.parametrize("name", STRUCTURE_FUNCTIONS)
def test_coefficients_put_together_give_back_the_couplings(name: str) -> None:
    weights = couplings(name, 5, SIN2)
    flavours = coefficient_flavours(weights, 5)
    zero = torch.zeros(11, dtype=torch.float64)
    torch.testing.assert_close(flavours.get("plus", zero) + flavours.get("minus", zero), weights)
    # A structure function that is odd under charge conjugation, or without net charge, sees neither the gluon nor the singlet.
    assert ("gluon" in flavours) == (not name.startswith("xF3"))


def test_evolution_at_the_starting_scale_leaves_the_light_densities_alone() -> None:
    identity = EVOLUTION_FLAVOURS["plus"] + EVOLUTION_FLAVOURS["minus"] + EVOLUTION_FLAVOURS["gluon_gluon"]
    densities = torch.arange(1.0, 9.0, dtype=torch.float64)
    named = dict(zip(FIT_FLAVOURS, densities.tolist(), strict=True))
    half_c = named["c+"] / 2
    wanted = [0, half_c, named["sbar"], named["ubar"], named["dbar"], named["g"], named["d"], named["u"], named["s"], half_c, 0]
    assert (identity @ densities).tolist() == wanted


def test_neutron_is_the_proton_with_u_and_d_exchanged() -> None:
    operator = torch.randn(3, 8, 4)
    densities = {name: torch.randn(4) for name in FIT_FLAVOURS}
    swapped = densities | {"u": densities["d"], "d": densities["u"], "ubar": densities["dbar"], "dbar": densities["ubar"]}
    stack, swapped_stack = (torch.stack([values[name] for name in FIT_FLAVOURS]) for values in (densities, swapped))
    neutron, deuteron = on_target(operator, "neutron", 1), on_target(operator, "deuteron", 1)
    torch.testing.assert_close(torch.einsum("pfn,fn->p", neutron, stack), torch.einsum("pfn,fn->p", operator, swapped_stack))
    torch.testing.assert_close(deuteron, (operator + neutron) / 2)


@pytest.mark.parametrize(("name", "near"), [("F2_Wmm", "F2_Wm"), ("xF3_em", "F2_em")])
def test_unknown_structure_function_is_refused_with_a_suggestion(name: str, near: str) -> None:
    with pytest.raises(SettingsError, match=near):
        couplings(name, 5, SIN2)


def test_unknown_target_is_refused() -> None:
    with pytest.raises(SettingsError, match="Did you mean 'neutron'"):
        on_target(torch.zeros(1, 8, 1), "Neutron", 1)
