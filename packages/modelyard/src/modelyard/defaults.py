"""The library's defaults for the hooks of a project: call one of them where only part of it is to change."""

from modelyard.pipeline.defaults import METRICS, TRUSTED_TYPES, load, make_estimator, make_preprocessor

__all__ = ["METRICS", "TRUSTED_TYPES", "load", "make_estimator", "make_preprocessor"]
