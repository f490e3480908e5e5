"""Pictures of workflows, as Mermaid, as Graphviz's DOT and as SVG; of a definition, or of an instance with its states.

They are made from what ``GET /workflows`` and ``GET /instances/{id}`` say, so that nobody's code is needed. Whatever
text is in a name is escaped: no format executes it.
"""

from hephaestus.diagrams.dot import to_dot
from hephaestus.diagrams.mermaid import to_mermaid
from hephaestus.diagrams.picture import Edge, Node, Picture, draw
from hephaestus.diagrams.svg import to_svg

__all__ = ["Edge", "Node", "Picture", "draw", "to_dot", "to_mermaid", "to_svg"]
