"""What is wrong with a node, and what to do about it: ``ipvsagent doctor``.

`gather` reads the node once into a `snapshot.NodeSnapshot`; each function in `checks` is pure and turns the snapshot
into troubles; `examination` holds the table of checks and puts both together. The room changes nothing on the node.
"""
