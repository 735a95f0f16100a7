"""What lies under a mask is neither change nor pixels."""

from __future__ import annotations

import numpy as np

from ovstream.config import PlanConfig, stream_config
from ovstream.encode import Encoder
from ovstream.pipeline import FrameTrace
from ovstream.pipeline.stats import StreamStats
from ovstream.pipeline.worker import StreamWorker
from ovstream.plan import PatchGrid, Planner
from ovstream.sources.scene import Scene
from ovstream.types import AccessUnit

RIGHT_HALF = ((0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0))


def test_the_mask_covers_every_patch_that_it_touches() -> None:
    sliver = ((0.49, 0.0), (1.0, 0.0), (1.0, 1.0), (0.49, 1.0))
    planner = Planner(PatchGrid.fit(320, 240, max_tokens=48), PlanConfig(masks=(sliver,)))
    rows, cols = planner.grid.shape
    assert planner.masked[:, cols // 2 :].all()
    assert planner.masked.sum() == rows * (cols // 2 + 1)


def run(
    units: list[AccessUnit], encoder: Encoder, masks: tuple[object, ...]
) -> tuple[list[FrameTrace], StreamStats, np.ndarray]:
    traces: list[FrameTrace] = []
    stats = StreamStats()
    config = stream_config("memory", masks=masks)
    worker = StreamWorker(config, encoder=encoder, stats=stats, observe=traces.append)
    found = [one for unit in units for one in worker.process(unit)]
    return traces, stats, found[-1].vector


def test_nothing_changes_under_a_mask(encoder: Encoder, units: object) -> None:
    clip = units(options={"x264-params": "bframes=0"}, scene=Scene(320, 240, objects=6, noise=1.0))
    plain, _, _ = run(clip, encoder, ())
    masked, stats, _ = run(clip, encoder, (RIGHT_HALF,))
    assert any((trace.plan.changed & masked[0].masked).any() for trace in plain), (
        "the test needs change there"
    )
    for trace in masked:
        assert not (trace.plan.changed & trace.masked).any()
        if trace.plan.action == "sparse":
            assert not trace.masked.ravel()[trace.plan.indices].any()
        assert not trace.encoded.all() or trace.plan.action == "dense"
    assert stats.patches_encoded < sum(int(trace.encoded.sum()) for trace in plain)


def test_the_vector_does_not_depend_on_pixels_under_a_mask(encoder: Encoder, units: object) -> None:
    """Two cameras that differ under the mask only give the same vectors."""

    class HalfBlack(Scene):
        def render(self, index: int) -> np.ndarray:
            image = super().render(index).copy()
            image[:, 176:] = 16
            return image

    options = {"x264-params": "bframes=0", "crf": "1"}
    still = {"objects": 2, "noise": 0.0, "lighting": 0.0}
    mask = ((0.48, 0.0), (1.0, 0.0), (1.0, 1.0), (0.48, 1.0))
    one = run(units("one.mp4", frames=1, options=options, scene=Scene(320, 240, **still)), encoder, (mask,))[
        2
    ]
    two = run(
        units("two.mp4", frames=1, options=options, scene=HalfBlack(320, 240, **still)), encoder, (mask,)
    )[2]
    bare = run(units("two.mp4", frames=1, options=options, scene=HalfBlack(320, 240, **still)), encoder, ())[
        2
    ]

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    assert 1 - cosine(one, two) < 0.1 * (1 - cosine(one, bare))
