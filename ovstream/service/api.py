"""The REST API: what the page, scripts and orchestrators ask."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Body, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse, StreamingResponse

from ovstream import __version__
from ovstream.config import RunConfig, file_schema, nested_options
from ovstream.errors import ConfigError, OvstreamError, SourceError
from ovstream.probing import probe
from ovstream.service.live import live_updates
from ovstream.service.metrics import CONTENT_TYPE, render
from ovstream.service.page import mount_page
from ovstream.service.publishers import PREFIX as WHIP_PREFIX
from ovstream.service.reach import Reach
from ovstream.service.roster import NoSuchStream, StreamExists, TooManyStreams
from ovstream.service.supervisor import Supervisor
from ovstream.service.views import camera_view, config_view, service_view, sinks_view

Json = dict[str, Any]
Reload = Callable[[], Awaitable[RunConfig]]

_STATUS: dict[type[OvstreamError], int] = {NoSuchStream: 404, StreamExists: 409, TooManyStreams: 409}
_PROBE_SECONDS = 6.0
_MOST_PROBE_SECONDS = 60.0
_EXAMPLE = {"url": "rtsp://192.168.1.20/stream1", "stream_id": "entrance", "plan": {"keep_ratio": 0.06}}


def create_app(supervisor: Supervisor, *, reload: Reload | None = None) -> FastAPI:
    """Makes the ASGI app of a supervisor; the app neither starts nor stops it.

    It has no guard of its own: wrap it in `Guard`, or mount it behind yours.

    Args:
        supervisor: What it shows and changes.
        reload: Reads the configuration file again; None: there is none.
    """
    app = FastAPI(
        title="ovstream", version=__version__, docs_url=None, redoc_url=None, openapi_url="/api/openapi.json"
    )
    reach = Reach(supervisor.config)
    app.include_router(_health(supervisor))
    app.include_router(_streams(supervisor, reach), prefix="/api")
    app.include_router(_service(supervisor, reach, reload), prefix="/api")

    @app.get("/metrics", tags=["health"], response_class=Response)
    async def metrics() -> Response:
        """Prometheus metrics."""
        return Response(render(supervisor), media_type=CONTENT_TYPE)

    @app.exception_handler(SourceError)
    @app.exception_handler(ConfigError)
    async def refuse(request: Request, error: OvstreamError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, _STATUS.get(type(error), 422))

    @app.get("/publish", include_in_schema=False)
    async def publish() -> RedirectResponse:
        return RedirectResponse(f"{WHIP_PREFIX}/publish")

    app.mount(WHIP_PREFIX, supervisor.publishers.app())
    mount_page(app)
    return app


def _health(supervisor: Supervisor) -> APIRouter:
    router = APIRouter(tags=["health"])

    def answer(good: bool, word: str) -> JSONResponse:
        return JSONResponse({word: good}, 200 if good else 503)

    @router.get("/live")
    async def live() -> JSONResponse:
        """The process gets to its work; if not for long, restart it."""
        return answer(supervisor.alive, "live")

    @router.get("/ready")
    async def ready() -> JSONResponse:
        """A stream is live, or none is wanted."""
        return answer(supervisor.ready, "ready")

    @router.get("/startup")
    async def startup() -> JSONResponse:
        """Every stream was opened once: models are loaded."""
        return answer(supervisor.started, "started")

    return router


def _streams(supervisor: Supervisor, reach: Reach) -> APIRouter:
    router = APIRouter(tags=["streams"])

    def view(stream_id: str) -> Json:
        return camera_view(supervisor, supervisor.camera(stream_id))

    @router.get("/streams")
    async def list_streams() -> list[Json]:
        """All streams: state, scores, rates, counters."""
        return [view(name) for name in supervisor.cameras]

    @router.post("/streams", status_code=201)
    async def add_stream(options: Annotated[Json, Body(examples=[_EXAMPLE])]) -> Json:
        """Adds a stream; options as in the configuration file, `url` and `stream_id` needed."""
        if not isinstance(options.get("url"), str) or "stream_id" not in options:
            raise HTTPException(422, "url and stream_id are needed")
        reach.check(nested_options(options))
        camera = await supervisor.add(options)
        return view(camera.stream_id)

    @router.get("/streams/{stream_id}")
    async def get_stream(stream_id: str) -> Json:
        """One stream, and its options without secrets."""
        return {**view(stream_id), "config": config_view(supervisor.camera(stream_id))}

    @router.patch("/streams/{stream_id}")
    async def change_stream(stream_id: str, changes: Annotated[Json, Body()]) -> Json:
        """Changes options, nested as in the file; the stream goes on with the next number."""
        reach.check(changes)
        await supervisor.change(stream_id, changes)
        return view(stream_id)

    @router.delete("/streams/{stream_id}", status_code=204)
    async def remove_stream(stream_id: str) -> None:
        """Ends a stream; one of the file comes back when its entry changes, or at the next start."""
        await supervisor.remove(stream_id)

    @router.post("/streams/{stream_id}/pause")
    async def pause_stream(stream_id: str) -> Json:
        """Stops reading."""
        await supervisor.pause(stream_id, paused=True)
        return view(stream_id)

    @router.post("/streams/{stream_id}/resume")
    async def resume_stream(stream_id: str) -> Json:
        """Goes on reading; also after a failure."""
        await supervisor.pause(stream_id, paused=False)
        return view(stream_id)

    @router.post("/streams/{stream_id}/restart")
    async def restart_stream(stream_id: str) -> Json:
        """Starts a stream again."""
        await supervisor.restart(stream_id)
        return view(stream_id)

    @router.get("/streams/{stream_id}/snapshot.jpg", response_class=Response)
    async def snapshot(
        stream_id: str,
        width: Annotated[int, Query(ge=16, le=1920)] = 640,
        fresh: Annotated[bool, Query(description="decode if the last picture is older than 1 s")] = True,
    ) -> Response:
        """The newest picture; masked parts are grey. Status 204 while there is none."""
        image = await supervisor.camera(stream_id).picture(width=width, fresh=fresh)
        if image is None:
            return Response(status_code=204)
        return Response(image, media_type="image/jpeg")

    @router.get("/streams/{stream_id}/overlay")
    async def overlay(stream_id: str) -> Json:
        """Motion vectors, changed patches and the age of every patch."""
        found = await supervisor.camera(stream_id).overlay()
        if found is None:
            raise HTTPException(404, "no picture has come yet")
        return found[1]

    @router.get("/streams/{stream_id}/timeline")
    async def timeline(stream_id: str) -> list[Json]:
        """The last ten minutes, second by second."""
        return [second.as_point() for second in supervisor.camera(stream_id).timeline.seconds]

    return router


def _service(supervisor: Supervisor, reach: Reach, reload: Reload | None) -> APIRouter:
    router = APIRouter(tags=["service"])

    @router.get("/service")
    async def service() -> Json:
        """The whole: streams, CPU, memory."""
        return service_view(supervisor)

    @router.get("/sinks")
    async def sinks() -> list[Json]:
        """What became of the results, per sink: sent, failed, dropped, waiting, waiting_bytes."""
        return sinks_view(supervisor)

    @router.get("/events")
    async def events(
        after: Annotated[int, Query(ge=0, description="number of the last event seen")] = 0,
        stream_id: str | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    ) -> list[Json]:
        """What happened, oldest first; the newest 1000 are kept."""
        return [one.as_dict() for one in supervisor.log.after(after, stream_id=stream_id, limit=limit)]

    @router.get("/live", response_class=StreamingResponse)
    async def live(focus: str | None = None) -> StreamingResponse:
        """Server-sent events: `state` once a second, `overlay` of the stream in `focus` four times, `event`."""
        return StreamingResponse(live_updates(supervisor, focus=focus), media_type="text/event-stream")

    @router.post("/reload")
    async def reload_file() -> dict[str, list[str]]:
        """Reads the configuration file again; only streams whose entry changed are touched."""
        if reload is None:
            raise HTTPException(409, "this service has no configuration file")
        return await supervisor.reload(await reload())

    @router.get("/config/schema")
    async def schema() -> Json:
        """JSON Schema of the configuration file."""
        return file_schema()

    @router.post("/probe")
    async def probe_camera(options: Annotated[Json, Body(examples=[_EXAMPLE])]) -> Json:
        """Looks at a camera for some seconds without adding it: what it sends, and what to change."""
        values = dict(options)
        url, seconds = values.pop("url", None), values.pop("seconds", _PROBE_SECONDS)
        if not isinstance(url, str) or "on_progress" in values:
            raise HTTPException(422, "url and options of the section 'source' are needed")
        if not isinstance(seconds, (int, float)) or not 1 <= seconds <= _MOST_PROBE_SECONDS:
            raise HTTPException(422, f"seconds: 1 to {_MOST_PROBE_SECONDS:g}")
        reach.check({"url": url, "source": values, **values})
        return (await probe(url, seconds=seconds, **values)).as_dict()

    return router
