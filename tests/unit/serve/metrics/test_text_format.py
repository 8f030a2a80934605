"""Labels and samples as text."""

from ipvsagent.model.address import Protocol
from ipvsagent.model.statistics import ServicePortName
from ipvsagent.serve.metrics.text_format import Labels, family_text


def test_label_values_are_escaped() -> None:
    """A folder of manifests may name an object anyhow."""
    name = ServicePortName("a", 'b"\\', "c\nd", Protocol.TCP)
    assert Labels().text(name) == r'{namespace="a",service="b\"\\",port="c\nd",protocol="TCP"}'
    assert "".join(family_text("x", "gauge", "Words", [("{}", 3)])) == "# HELP x Words\n# TYPE x gauge\nx{} 3\n"
