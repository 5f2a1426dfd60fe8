"""The table of rules: which request needs what. What is not in it is closed."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from starlette.routing import compile_path

from hounsfield.domain.access import Permission

#: Answers whoever asks: /healthz, and what leads to a session.
PUBLIC: Final = "public"
#: Every signed-in principal, whatever its permissions.
SIGNED_IN: Final = "signed-in"
#: Signed in, or from this machine itself.
NEARBY: Final = "nearby"

Needs = Permission | Literal["public", "signed-in", "nearby"]


@dataclass(frozen=True, slots=True)
class Rule:
    """What a method on a path needs. A rule for GET is one for HEAD too."""

    method: str
    path: str  # as a Starlette route has it: "/dicom-web/studies/{study}"
    needs: Needs
    upload: bool = False  # bodies up to `http_max_upload`; others to `http_max_body`
    form: bool = False  # sent by our own pages: its handler checks the form's CSRF field (`csrf.check_form`)


class Table:
    """Finds the rule of a request."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        """Raises ValueError where two rules are for the same method and path."""
        self.rules = tuple(rules)
        self._plain: dict[str, dict[str, Rule]] = defaultdict(dict)
        by_template: dict[str, dict[str, Rule]] = defaultdict(dict)
        for rule in self.rules:
            methods = (by_template if "{" in rule.path else self._plain)[rule.path]
            for method in ("GET", "HEAD") if rule.method == "GET" else (rule.method,):
                if method in methods:
                    raise ValueError(f"There are two rules for {method} {rule.path}")
                methods[method] = rule
        self._templates: dict[int, list[tuple[re.Pattern[str], dict[str, Rule]]]] = defaultdict(list)
        self._open_ended: list[tuple[re.Pattern[str], dict[str, Rule]]] = []
        for path, methods in by_template.items():
            compiled = (compile_path(path)[0], methods)
            if ":path}" in path:
                self._open_ended.append(compiled)
            else:
                self._templates[path.count("/")].append(compiled)

    def methods(self, path: str) -> dict[str, Rule]:
        """Method -> rule, for one path; empty where there is nothing."""
        if path in self._plain:
            return self._plain[path]
        found: dict[str, Rule] = {}
        for pattern, methods in (*self._templates.get(path.count("/"), ()), *self._open_ended):
            if pattern.match(path):
                found = methods | found  # as the router does: the first that fits a method
        return found
