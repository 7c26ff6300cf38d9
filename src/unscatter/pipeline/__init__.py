"""Problems: parameter space, theory, sampler and detector put together."""

from unscatter.pipeline.asimov import asimov_events
from unscatter.pipeline.bijections import Bijection, Box, Product, Simplex
from unscatter.pipeline.channels import check_channel_name
from unscatter.pipeline.check import CheckReport
from unscatter.pipeline.curves import CurveFamily
from unscatter.pipeline.derivatives import jacobian
from unscatter.pipeline.information import FisherInformation, fisher_information, latent_information
from unscatter.pipeline.measurements import Measurement
from unscatter.pipeline.pipeline import Pipeline, PipelineNoise, SyntheticEvents
from unscatter.pipeline.problem import Problem
from unscatter.pipeline.space import ParameterSpace

__all__ = [
    "Bijection",
    "Box",
    "CheckReport",
    "CurveFamily",
    "FisherInformation",
    "Measurement",
    "ParameterSpace",
    "Pipeline",
    "PipelineNoise",
    "Problem",
    "Product",
    "Simplex",
    "SyntheticEvents",
    "asimov_events",
    "check_channel_name",
    "fisher_information",
    "jacobian",
    "latent_information",
]
