"""All that knows HTTP: reading requests, answering them, what there is to see."""

from _jobqueue.needs import need

need("bottle", "waitress")
