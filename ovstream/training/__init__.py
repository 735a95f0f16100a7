"""Trains small encoders by cluster discrimination, along update histories; needs the extra `training`.

Data comes from `collect`, a run is a `Trainer`, and what it delivers goes out through `ovstream.model.export_model`.
`ovstream train` does the three in turn. See docs/training.md.
"""
