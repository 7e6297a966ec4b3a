"""A static site of stored results: plain files, no server, no network."""

from ltbench.report.site import Built, build_report

__all__ = ["Built", "build_report"]
