"""Parton densities: flavours, parametrisations, sum rules, grids in the LHAPDF format."""

from unscatter.pdfs.components import COMPONENTS, SHARED, VALENCE, Norms, to_flavours
from unscatter.pdfs.flavours import FIT_FLAVOURS, PDG_IDS, TARGETS
from unscatter.pdfs.functional import Functional
from unscatter.pdfs.neural import Neural
from unscatter.pdfs.node_values import NodeValues
from unscatter.pdfs.protocol import PdfParametrisation

__all__ = [
    "COMPONENTS",
    "FIT_FLAVOURS",
    "PDG_IDS",
    "SHARED",
    "TARGETS",
    "VALENCE",
    "Functional",
    "Neural",
    "NodeValues",
    "Norms",
    "PdfParametrisation",
    "to_flavours",
]
