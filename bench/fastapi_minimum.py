"""The least that a FastAPI service would do for a job: store it, hand out its id, show it. No leases, no retries, no checks."""

import json
import os
import uuid

import redis.asyncio
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse

app = FastAPI()
store = redis.asyncio.from_url(os.environ["REDIS_URL"])


@app.post("/jobs")
async def submit(request: Request):
    job_id, body = str(uuid.uuid4()), await request.json()
    async with store.pipeline(transaction=True) as pipe:
        pipe.hset(f"job:{job_id}", mapping={"status": "queued", "payload": json.dumps(body["payload"])})
        pipe.rpush("queue", job_id)
        await pipe.execute()
    return JSONResponse({"job_id": job_id, "status": "queued"}, 201)


@app.get("/jobs/{job_id}")
async def show(job_id: str):
    job = await store.hgetall(f"job:{job_id}")
    if not job:
        raise HTTPException(404)
    return {"job_id": job_id, "status": job[b"status"].decode(), "payload": json.loads(job[b"payload"])}
