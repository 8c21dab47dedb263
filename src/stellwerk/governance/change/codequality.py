"""What SARIF says of a change as GitLab's Code Quality report, which its merge requests show beside the lines."""

from __future__ import annotations

import hashlib
import json
from urllib.parse import unquote

_SEVERITY = {"error": "critical", "warning": "major", "note": "info"}


def render(sarif: str) -> str:
    """The document, made of ours in SARIF: the same findings at the same places, known again from commit to commit."""
    found = []
    for result in json.loads(sarif)["runs"][0]["results"]:
        place = result["locations"][0]["physicalLocation"]
        known = json.dumps([result["ruleId"], result["partialFingerprints"]], sort_keys=True)
        found.append(
            {
                "description": result["message"]["text"],
                "check_name": result["ruleId"],
                "fingerprint": hashlib.sha256(known.encode()).hexdigest(),
                "severity": _SEVERITY[result["level"]],
                "location": {
                    "path": unquote(place["artifactLocation"]["uri"]),
                    "lines": {"begin": place["region"]["startLine"]},
                },
            }
        )
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"
