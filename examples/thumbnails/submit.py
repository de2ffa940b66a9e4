"""A job for each picture of a folder, and one for the sheet of them all: python submit.py PICTURES ALBUM"""

import os
import sys
from pathlib import Path

from jobqueue import JobQueue, NewJob


def album(pictures, folder):
    """The jobs of an album. The sheet waits for the end of all others, so that a broken picture does not hold it up."""
    tags = [f"album:{folder.name}"]
    for picture in sorted(pictures.iterdir()):
        yield NewJob("thumb.make", {"source": str(picture), "folder": str(folder)}, tags=tags)
    yield NewJob("thumb.sheet", {"folder": str(folder)}, tags=tags, after=["*"], when="ended")


def main(pictures, folder):
    folder.mkdir(parents=True, exist_ok=True)
    queue = JobQueue(os.environ.get("REDIS_URL", "redis://localhost:6379/0"))
    stored = queue.submit_many(list(album(pictures, folder)))
    if refused := [each.error for each in stored if each.error]:
        sys.exit(f"refused: {refused[0]}")
    print(f"{len(stored)} jobs, tag album:{folder.name}", flush=True)
    print(queue.wait(stored[-1].job.id, timeout_s=600).result)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
