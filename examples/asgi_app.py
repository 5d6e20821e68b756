"""A web application with a runtime inside: workflows start from requests and go on after a restart.

pip install starlette uvicorn
uvicorn --app-dir examples asgi_app:app
curl -X POST localhost:8000/orders/acme
curl localhost:8000/orders/acme
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from order import order
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from durable.errors import RunNotFoundError
from runtime import Runtime


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, Runtime]]:
    async with Runtime("sqlite:///orders.db", workflows=[order]) as runtime:
        yield {"runtime": runtime}


async def start(request: Request) -> JSONResponse:
    customer = request.path_params["customer"]
    run = await request.state.runtime.start(order.options(id=f"order-{customer}"), customer)
    return JSONResponse({"workflow_id": run.workflow_id}, status_code=202)


async def show(request: Request) -> JSONResponse:
    try:
        description = await request.state.runtime.get(f"order-{request.path_params['customer']}").describe()
    except RunNotFoundError as error:
        return JSONResponse({"error": error.message}, status_code=404)
    return JSONResponse(description.model_dump(mode="json"))


app = Starlette(
    routes=[
        Route("/orders/{customer}", start, methods=["POST"]),
        Route("/orders/{customer}", show, methods=["GET"]),
    ],
    lifespan=lifespan,
)
