"""cluster.yaml: what an operator writes, read strictly. Every problem comes at once, with its path and line.

load_spec(Path("cluster.yaml")) -> ClusterSpec          raises SpecInvalid
spec_schema() -> dict                                   JSON Schema for editors
read_values(Path("values.json")) -> dict                a JSON object, such as `terraform output -json`
render_template(text, values) -> str                    cluster.yaml.j2 -> cluster.yaml
"""

from coordinator.spec.cluster import ClusterSpec
from coordinator.spec.loading import load_spec
from coordinator.spec.problems import SpecInvalid, SpecProblem
from coordinator.spec.schema import spec_schema
from coordinator.spec.template import render_template
from coordinator.spec.values import read_values

__all__ = ["ClusterSpec", "SpecInvalid", "SpecProblem", "load_spec", "read_values", "render_template", "spec_schema"]
