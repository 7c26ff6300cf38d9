"""Jobs of several ranks: started on this machine or on a cluster, watched, and joined by each rank."""

from unscatter.launch.job import JobEnd, JobSettings, run_job
from unscatter.launch.logs import JobLogs

__all__ = ["JobEnd", "JobLogs", "JobSettings", "run_job"]
