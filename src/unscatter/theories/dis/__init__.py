"""Deep-inelastic scattering: from parton densities at a starting scale to structure functions and densities of events."""
