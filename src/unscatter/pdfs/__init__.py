"""Parton densities: flavours, parametrisations, sum rules, grids in the LHAPDF format."""

from unscatter.pdfs.components import COMPONENTS, SHARED, VALENCE, Norms, to_flavours
from unscatter.pdfs.fixed import FixedDensities
from unscatter.pdfs.flavours import FIT_FLAVOURS, PDG_IDS, TARGETS
from unscatter.pdfs.functional import Functional
from unscatter.pdfs.grid import AlphaS, PdfGrid
from unscatter.pdfs.lhagrid import read_lhapdf, write_lhapdf
from unscatter.pdfs.neural import Neural
from unscatter.pdfs.node_values import NodeValues
from unscatter.pdfs.pdf_set import PdfInfo, PdfSet
from unscatter.pdfs.protocol import PdfParametrisation

__all__ = [
    "COMPONENTS",
    "FIT_FLAVOURS",
    "PDG_IDS",
    "SHARED",
    "TARGETS",
    "VALENCE",
    "AlphaS",
    "FixedDensities",
    "Functional",
    "Neural",
    "NodeValues",
    "Norms",
    "PdfGrid",
    "PdfInfo",
    "PdfParametrisation",
    "PdfSet",
    "read_lhapdf",
    "to_flavours",
    "write_lhapdf",
]
