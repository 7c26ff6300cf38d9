"""Parton densities: flavours, parametrisations, sum rules, grids in the LHAPDF format."""
