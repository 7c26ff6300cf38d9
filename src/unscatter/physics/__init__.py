"""Pure formulas: each cites its source, none knows about grids, samplers or networks."""
