"""Cells of notebooks that become steps: what a cell reads and makes, and the function that does the same."""

from stellwerk.pipelines.promoting.flow import Flow, flow
from stellwerk.pipelines.promoting.writing import Draft, draft, merged

__all__ = ["Draft", "Flow", "draft", "flow", "merged"]
