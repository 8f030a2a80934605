"""``ipvsagent doctor``: find problems of a node and suggest remedies.

`gather` reads the node once into a `snapshot.NodeSnapshot`; each function in `checks` is pure and turns the snapshot
into troubles; `examination` holds the table of checks and puts both together. The room changes nothing on the node.
"""
