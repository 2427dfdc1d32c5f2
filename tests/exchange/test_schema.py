"""Results of every kind are valid by the schema that ships."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema

import rlhf_fair
from rlhf_fair.artifacts import canonical_json


def test_results_of_every_kind_are_valid(results):
    schema = json.loads((Path(rlhf_fair.__file__).parent / "results.schema.json").read_text(encoding="utf-8"))
    content = json.loads(canonical_json(results.model_dump(mode="json")))
    jsonschema.Draft202012Validator(schema).validate(content)
