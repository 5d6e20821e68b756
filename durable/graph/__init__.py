"""Pictures of workflows: what the code may do, and what a run has done.

shape     the picture as data: operations in order, branches, loops, what goes on beside something else
code      from the source of a workflow, by its syntax
history   from the history of a run, with what became of each operation
mermaid   as Mermaid text, for Markdown pages
svg       as an SVG image, laid out here
"""

from durable.graph.code import draw_code
from durable.graph.history import draw_history
from durable.graph.mermaid import to_mermaid
from durable.graph.shape import Branch, Group, Operation, Picture
from durable.graph.svg import to_svg

__all__ = ["Branch", "Group", "Operation", "Picture", "draw_code", "draw_history", "to_mermaid", "to_svg"]
