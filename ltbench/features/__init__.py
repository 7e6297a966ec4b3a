"""Feature extractors: what a distance between sets of images is measured in."""

from ltbench.features.base import Extractor, cached
from ltbench.features.catalogue import build_extractor

__all__ = ["Extractor", "build_extractor", "cached"]
