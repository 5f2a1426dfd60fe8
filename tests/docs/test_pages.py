"""What the pages say can be done: links lead somewhere, commands and settings exist."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer.main
from scripts import reference

from hounsfield.cli.app import app
from hounsfield.domain.events import CATALOGUE
from hounsfield.settings import OTHER_VARIABLES, PREFIX, Settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
#: What may stand for "and so on" on a command line.
DOTS = ("...", "…")


class Said(NamedTuple):
    """One command line of a page. `whole`: in a code block, so that nothing may be missing."""

    words: list[str]
    whole: bool


def blocks(text: str, *languages: str) -> Iterator[str]:
    for language, body in FENCE.findall(text):
        if language in languages:
            yield body


def prose(text: str) -> str:
    return FENCE.sub("", text)


def anchors(page: Path) -> set[str]:
    """Anchors of the headings, as the usual renderers make them."""
    found = re.findall(r"^#+ (.+)$", prose(page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in found}


def shell_lines(text: str) -> Iterator[str]:
    """Commands of `console` blocks (after "$ ") and of `sh` blocks, continued lines joined."""
    for body in blocks(text, "console"):
        for line in body.replace("\\\n", " ").splitlines():
            if line.startswith(("$ ", "# ")):
                yield line[2:]
    for body in blocks(text, "sh"):
        yield from (line for line in body.replace("\\\n", " ").splitlines() if line[:1] not in ("", "#"))


def said(text: str) -> Iterator[Said]:
    for line in shell_lines(text):
        for part in re.split(r"\s(?:&&|\|)\s|;\s", line):
            words = shlex.split(part, comments=True)
            while words and re.match(r"[A-Z_]+=|sudo$|-u$|hounsfield$(?=\s)", words[0]):
                words = words[1:]
            if words and Path(words[0]).name == "hounsfield":
                yield Said(_until_redirection(words[1:]), True)
    for quoted in INLINE.findall(prose(text)):
        if quoted.startswith("hounsfield "):
            yield Said(shlex.split(quoted)[1:], False)


def _until_redirection(words: list[str]) -> list[str]:
    ends = [n for n, word in enumerate(words) if word in (">", "2>", "<", "&")]
    return words[: ends[0]] if ends else words


def complaint(line: Said) -> str:
    """What is wrong with a command line, '' for nothing. Nothing is run."""
    words, command = list(line.words), typer.main.get_command(app)
    given: list[str] = []
    while words:
        word = words.pop(0)
        if word in DOTS:
            return ""
        if word.startswith("-") and len(word) > 1:
            option, equals, _ = word.partition("=")
            parameter = next((p for p in command.params if option in (*p.opts, *p.secondary_opts)), None)
            if parameter is None:
                if option in ("-h", "--help", "--install-completion"):
                    continue
                return f"{command.name} has no option {option}"
            if not getattr(parameter, "is_flag", False):
                if not equals and not words:
                    return f"{option} has no value"
                words = words if equals else words[1:]
        elif not given and word in getattr(command, "commands", {}):
            command = command.commands[word]
        else:
            given.append(word)
    return _arguments(command, given, line.whole)


def _arguments(command: Any, given: list[str], whole: bool) -> str:
    if getattr(command, "commands", None) and not getattr(command, "invoke_without_command", False):
        return f"{command.name} has no command {given[0]}" if given else ""
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    least = sum(p.required for p in arguments)
    most = None if any(p.nargs != 1 for p in arguments) else len(arguments)
    if most is not None and len(given) > most:
        return f"{command.name} takes no {given[most]!r}"
    if whole and len(given) < least:
        return f"{command.name} needs {least} arguments"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in LINK.findall(prose(page.read_text(encoding="utf-8"))):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_command_lines_can_be_parsed(page: Path) -> None:
    wrong = {" ".join(line.words): complaint(line) for line in said(page.read_text(encoding="utf-8"))}
    assert {line: why for line, why in wrong.items() if why} == {}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_names_exist(page: Path) -> None:
    """Variables, settings of TOML examples, event types of `ledger --type`, targets of make."""
    text = page.read_text(encoding="utf-8")
    variables = {PREFIX + name.upper() for name in Settings.model_fields} | OTHER_VARIABLES.keys()
    used = set(re.findall(rf"\b{PREFIX}[A-Z_]*[A-Z]\b", text)) - {"HOUNSFIELD_0"}
    assert used <= variables
    for body in blocks(text, "toml"):
        Settings.model_validate(tomllib.loads(body))
    assert set(re.findall(r"--type ([a-z]+\.[a-z]+)", text)) <= CATALOGUE.keys()
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    commands = [*shell_lines(text), *INLINE.findall(prose(text))]
    assert {line.split()[1] for line in commands if re.match(r"make [a-z]", line)} <= targets


def test_every_page_is_in_the_index() -> None:
    index = DOCS / "README.md"
    linked = {
        (DOCS / target.partition("#")[0]).resolve()
        for target in LINK.findall(index.read_text(encoding="utf-8"))
    }
    assert {page for page in DOCS.rglob("*.md") if page != index} <= linked


def test_every_kind_of_command_is_used_somewhere() -> None:
    """A guide for each group: what nobody is told of is not found."""
    pages = [page for page in PAGES if page.parent.name != "reference"]
    told = {line.words[0] for page in pages for line in said(page.read_text(encoding="utf-8")) if line.words}
    commands = reference._commands("hounsfield", typer.main.get_command(app))
    assert {path.split()[1] for path, _ in commands} <= told


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("find PACS@h:104 PatientID=1 --level series", ""),
        ("ledger --data x verify", ""),
        ("ledger --study 1.2 --follow", ""),
        ("device admit CT1 ...", ""),
        ("device add CT1", "add needs 2 arguments"),
        ("find --colour red", "find has no option --colour"),
        ("device paint CT1", "device has no command paint"),
        ("echo A@h:1 B@h:2", "echo takes no 'B@h:2'"),
        ("study list --patient", "--patient has no value"),
        ("paint", "hounsfield has no command paint"),
    ],
)
def test_complaints(line: str, why: str) -> None:
    assert complaint(Said(line.split(), True)).replace("None", "hounsfield") == why
