"""An asyncio web service with two worker processes, watched as one device.

It tells from the chemical analysis of a wine which of three cultivars it was made from (scikit-learn's
`load_wine`). Each worker has its own `EdgeMonitor`. They share one database, and settle among themselves
which of them measures the device, decides and uploads; when that one dies, the other takes over.

    pip install "edge-mlops-monitor[s3]" scikit-learn starlette uvicorn
    EDGE_MLOPS_MONITOR_CONFIG=web_service.yaml python web_service.py --port 8000
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from edge_mlops_monitor import EdgeMonitor


def create_app() -> Starlette:
    """The service of one worker process; uvicorn calls it in each."""
    monitor = EdgeMonitor(os.environ.get("EDGE_MLOPS_MONITOR_CONFIG"))
    wine = load_wine()
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(wine.data, wine.target)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        with monitor:  # starts everything in the background; in the end all records are on stable storage
            yield

    async def infer(sample: dict[str, float]) -> dict[str, Any]:
        row = [[sample[name] for name in wine.feature_names]]
        sure = (await asyncio.to_thread(model.predict_proba, row))[0]
        return {"cultivar": str(wine.target_names[sure.argmax()]), "sure": float(sure.max())}

    watched = monitor.watch(model="wine", model_version="1")(infer)
    certificate = monitor.watch(model="wine", model_version="1", tags={"certificate": True})

    async def predict(request: Request) -> JSONResponse:
        try:
            return JSONResponse(await watched(await request.json()))
        except KeyError as missing:  # recorded as a failed prediction, and still ours to answer
            return JSONResponse({"error": f"the measurement {missing} is missing"}, status_code=400)

    async def certify(request: Request) -> JSONResponse:
        """A certificate is given out only once its record cannot be lost any more."""
        async with certificate as call:
            call.inputs = await request.json()
            call.outputs = await infer(call.inputs)
        durable = await monitor.aflush(timeout=5)
        return JSONResponse({**call.outputs, "id": call.prediction_id, "durable": durable})

    async def tasted(request: Request) -> JSONResponse:
        """The truth about a certified wine, known later."""
        known = await request.json()
        monitor.log_actual(known["id"], known["cultivar"])
        return JSONResponse({}, status_code=202)

    async def status(request: Request) -> JSONResponse:
        return JSONResponse({"worker": os.getpid(), **await asyncio.to_thread(monitor.get_status)})

    posts = {"/predict": predict, "/certify": certify, "/tasted": tasted}
    routes = [Route(path, handler, methods=["POST"]) for path, handler in posts.items()]
    return Starlette(routes=[*routes, Route("/status", status)], lifespan=lifespan)


def main() -> None:
    """Serve with two worker processes, on this machine only."""
    parser = argparse.ArgumentParser(description="Serve a wine model with monitored worker processes.")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    uvicorn.run(
        "web_service:create_app",
        factory=True,
        app_dir=str(Path(__file__).parent),
        host="127.0.0.1",
        port=given.port,
        workers=given.workers,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
