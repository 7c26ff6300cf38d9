"""Runcards: YAML files that describe a run, validated once and turned into objects in one place."""

from unscatter.runcards.loading import load_runcard
from unscatter.runcards.problems import BUILT_IN, build_problem
from unscatter.runcards.runcard import Job, Runcard
from unscatter.runcards.running import resume_run, start_run
from unscatter.runcards.schema import json_schema

__all__ = ["BUILT_IN", "Job", "Runcard", "build_problem", "json_schema", "load_runcard", "resume_run", "start_run"]
