# One image for all programs; docker-compose.yml says which one a container runs. Built anew, it gets the security
# fixes of this Python and this Debian.
FROM python:3.12-slim-bookworm

# Two arenas: glibc would keep one for each thread that has ever handled a large body.
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 MALLOC_ARENA_MAX=2
WORKDIR /app

COPY requirements.txt requirements-history.txt ./
RUN pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore -r requirements.txt -r requirements-history.txt

COPY api.py handlers.py history.py jobqueue.py outbox.py reaper.py worker.py ./
COPY _jobqueue _jobqueue/

# The folder of one's own handlers and what they need (docs/your-project.md). It is searched first; empty, the samples run.
WORKDIR /app/jobs

USER 10001:10001
STOPSIGNAL SIGTERM
EXPOSE 8000
CMD ["python", "/app/api.py"]
