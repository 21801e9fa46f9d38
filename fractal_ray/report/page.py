"""Report as one HTML file that holds all its data and opens from disk without a network.

The structure is in `page.html`, the style in `page.css`, the interaction in `page.js`. Jinja
escapes texts of the sweep (names, errors, YAML); the maps insert them as text, never as HTML.
"""

from importlib.resources import files
from typing import Any

from fractal_ray.dataset.plain_json import to_json
from fractal_ray.errors import missing_library
from fractal_ray.report import charts, sections
from fractal_ray.report import provenance as background
from fractal_ray.report.facts import Facts
from fractal_ray.report.maps import maps, pack_bytes


def render(facts: Facts) -> str:
    """Render the page; equal datasets give equal bytes."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from plotly.offline import get_plotlyjs
    except ModuleNotFoundError as error:
        raise missing_library("fractal-ray report", str(error.name), "report") from error

    frames, map_notes = maps(facts)
    dimensions = sections.dimensions(facts)
    against_zoom = charts.against_zoom(facts)
    drawn = [chart for each in dimensions for chart in each["charts"]] + against_zoom
    criterion = facts.rule.criterion
    data = {
        "frames": frames,
        "charts": drawn,
        "failures": [group["first_line"] for group in background.failures(facts)],
        "boundary": facts.sweep.spec.label.boundary,
        "window": None if criterion.reference == "held_out" else criterion.window,
        "losses": facts.sweep.spec.workload.records_losses,
    }
    text = background.spec_text(facts)
    environment = Environment(
        loader=PackageLoader("fractal_ray.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        head=sections.head(facts),
        advice=facts.advice,
        tree=sections.tree(facts),
        frames=[frame["number"] for frame in frames],
        map_notes=map_notes,
        dimensions=dimensions,
        against_zoom=against_zoom,
        unverified=sections.unverified(facts),
        verify_command=sections.verify_first(facts),
        audits=sections.audits(facts),
        cost=background.cost(facts),
        failures=background.failures(facts),
        refined=any(stage.refine is not None for stage in facts.sweep.spec.stages),
        spec=text,
        changed=facts.changed,
        provenance=background.provenance(facts),
        recipe=background.recipe(facts),
        reproduce=background.reproduce(facts, text),
        style=_shipped("page.css"),
        script=_shipped("page.js"),
        plotly=pack_bytes(get_plotlyjs().encode()),
        data=_in_script(data),
    )


def _shipped(name: str) -> str:
    return files("fractal_ray.report").joinpath(name).read_text(encoding="utf-8")


def _in_script(data: Any) -> str:
    """Format data as JSON that cannot end the script element around it."""
    return to_json(data).replace("<", "\\u003c")
