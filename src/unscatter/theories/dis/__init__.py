"""Deep-inelastic scattering: from parton densities at a starting scale to structure functions and densities of events."""

from unscatter.physics.dis_kinematics import Beams
from unscatter.theories.dis.building import build_file, build_tables
from unscatter.theories.dis.channels import DisChannel, cross_section_operator
from unscatter.theories.dis.operators import STRUCTURE_FUNCTIONS
from unscatter.theories.dis.settings import TableSettings
from unscatter.theories.dis.storage import load_tables
from unscatter.theories.dis.tables import DisTables
from unscatter.theories.dis.theory import DIS_COLUMNS, DisTheory, dis_grid

__all__ = [
    "DIS_COLUMNS",
    "STRUCTURE_FUNCTIONS",
    "Beams",
    "DisChannel",
    "DisTables",
    "DisTheory",
    "TableSettings",
    "build_file",
    "build_tables",
    "cross_section_operator",
    "dis_grid",
    "load_tables",
]
