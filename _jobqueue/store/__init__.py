"""All that knows Redis: one file for each thing that is done there."""

from _jobqueue.needs import need

need("redis")
