"""Is the camera all right? Told from what its encoder says, without a pixel.

| condition | what it means | told by |
|---|---|---|
| frozen | the same picture again and again | keyframes alike to the noise, nothing between them |
| dark | lens covered, light out, signal gone | the texture of the picture is gone |
| starved | far fewer bits than it had | coarser quantisers at a lower bit rate |
| shaking | the camera trembles | motion of the whole picture, to and fro |
| infrared | night mode: grey pictures | no colour is coded any more |
| moved | somebody turned the camera (once) | the whole picture shifted, then stands |
| cut | another picture at once (once) | nearly everything coded anew, with other textures |
"""

from ovstream.health.monitor import MOMENTARY, Condition, HealthChange, HealthMonitor

__all__ = ["MOMENTARY", "Condition", "HealthChange", "HealthMonitor"]
