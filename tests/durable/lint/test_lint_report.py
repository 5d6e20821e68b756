"""What surrounds the checks: ignoring, selecting, files that cannot be read, formats."""

import ast
import json
from pathlib import Path

import pytest
from lint_case import assert_case, findings_in

from durable.errors import ConfigurationError
from durable.lint import CODES, Finding, Report, check_paths, check_sources, to_sarif
from durable.lint.code import PRELUDE

FLOW = PRELUDE + "import time, uuid\n\n@workflow\nasync def deploy(ctx: Context) -> None:\n"

IGNORED = {
    "one code": "time.time()  # durable: ignore[DURL101]",
    "several codes": "time.time(), uuid.uuid4()  # durable: ignore[DURL101, DURL102]",
    "every code": "time.time(), uuid.uuid4()  # durable: ignore",
    "with a reason": "time.time()  # durable: ignore[DURL101] - only for a label",
    "in small letters": "time.time()  # durable: ignore[durl101]",
    "behind another comment": "time.time()  # noqa: DTZ005  # durable: ignore[DURL101]",
    "without blanks": "time.time()  #durable:ignore[DURL101]",
    "at the end of a call over lines": "time.sleep(\n        3\n    )  # durable: ignore[DURL103]",
    "at the beginning of a call over lines": "time.sleep(  # durable: ignore[DURL103]\n        3\n    )",
}


@pytest.mark.parametrize("line", IGNORED.values(), ids=IGNORED)
def test_comment_ignores(line):
    assert check_sources({"app.py": f"{FLOW}    {line}\n"}).ok


NOT_IGNORED = {
    "another code": ("time.time()  # durable: ignore[DURL102]", ["DURL101", "DURL902"]),
    "another line": ("time.time()\n    # durable: ignore[DURL101]", ["DURL101", "DURL902"]),
    "text": ("time.time(), '# durable: ignore'", ["DURL101"]),
    "another word": ("time.time()  # durable: ignored", ["DURL101"]),
    "another tool": ("time.time()  # type: ignore", ["DURL101"]),
    "one code of two": ("time.time()  # durable: ignore[DURL101, DURL102]", ["DURL902"]),
    "nothing": ("ctx.now()  # durable: ignore", ["DURL902"]),
    "unknown code": ("ctx.now()  # durable: ignore[DURL999]", ["DURL902"]),
}


@pytest.mark.parametrize(("line", "codes"), NOT_IGNORED.values(), ids=NOT_IGNORED)
def test_comment_does_not_ignore(line, codes):
    found = check_sources({"app.py": f"{FLOW}    {line}\n"}).findings
    assert [finding.code for finding in found] == codes


def test_unused_ignore_names_the_code_and_the_place():
    (finding,) = findings_in("---\nctx.now()  # durable: ignore[DURL101]\n")
    assert str(finding).endswith("DURL902 the ignore of DURL101 ignores nothing here; remove it")
    assert finding.column == 16


def test_ignore_in_a_module_that_is_only_reached_holds_and_is_not_reported():
    sources = {
        "helper.py": "import time\n\ndef now():\n    return time.time()  # durable: ignore[DURL101]\n\nX = 1  # durable: ignore\n",
        "app.py": f"{PRELUDE}import helper\n\n@workflow\nasync def deploy(ctx):\n    helper.now()\n",
    }
    assert check_paths_in(sources, ["app.py"]).ok
    assert [finding.code for finding in check_paths_in(sources, ["."]).findings] == ["DURL902"]


def check_paths_in(sources, paths):
    from durable.lint.disk import Texts

    return check_paths(paths, files=Texts(sources))


SELECTIONS = [
    ({}, {"DURL101", "DURL102", "DURL103"}),
    ({"select": ["DURL101"]}, {"DURL101"}),
    ({"select": ["DURL1"]}, {"DURL101", "DURL102", "DURL103"}),
    ({"select": ["durl101", "DURL3"]}, {"DURL101"}),
    ({"ignore": ["DURL102"]}, {"DURL101", "DURL103"}),
    ({"select": ["DURL1"], "ignore": ["DURL101", "DURL103"]}, {"DURL102"}),
    ({"ignore": ["DURL"]}, set()),
]


@pytest.mark.parametrize(("options", "codes"), SELECTIONS)
def test_codes_are_selected_and_left_out(options, codes):
    report = check_sources({"app.py": f"{FLOW}    time.time(), uuid.uuid4(), time.sleep(1)\n"}, **options)
    assert {finding.code for finding in report.findings} == codes


def test_ignore_of_a_code_that_is_left_out_counts_as_used():
    assert check_sources({"app.py": f"{FLOW}    time.time()  # durable: ignore[DURL101]\n"}, select=["DURL9"]).ok


@pytest.mark.parametrize("option", ["select", "ignore"])
def test_unknown_code_is_refused_with_a_suggestion(option):
    with pytest.raises(ConfigurationError, match=f"expected {option} to name a code.*did you mean DURL101"):
        check_sources({}, **{option: ["DURK101"]})
    with pytest.raises(ConfigurationError, match="known: DURL101"):
        check_sources({}, **{option: ["nonsense"]})


BROKEN = {
    "syntax": ("x = 1\nx = = 2\n", (2, 5), "invalid syntax"),
    "indentation": ("def f():\nreturn 1\n", (2, 1), "expected an indented block"),
    "bytes": (b"x = '\xff'\n", (1, 1), "cannot be parsed"),
    "null bytes": (b"x = 1\0\n", (1, 1), "null bytes"),
    "bytes further down": (b"x = 1\n\n\ny = '\xff'\n", (1, 1), "cannot be parsed"),
    "unknown encoding": (b"# coding: nonsense\n", (1, 1), "nonsense"),
    "depth": ("x = " + "(" * 5000 + ")" * 5000, (1, 1), "cannot be parsed"),
}


@pytest.mark.parametrize(("content", "place", "words"), BROKEN.values(), ids=BROKEN)
def test_file_that_cannot_be_parsed_is_a_finding(tmp_path, content, place, words):
    file = tmp_path / "app.py"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    (tmp_path / "other.py").write_text(f"{FLOW}    time.time()\n")
    first, second = check_paths([tmp_path]).findings
    assert first.code == "DURL901"
    assert (first.line, first.column) >= (1, 1)
    if content is BROKEN["syntax"][0]:
        assert (first.line, first.column) == place
    assert words in first.message
    assert second.code == "DURL101"
    assert second.path.endswith("other.py")


def test_other_encodings_are_read(tmp_path):
    file = tmp_path / "app.py"
    file.write_bytes(f"# coding: latin-1\n{FLOW}    'ä', time.time()\n".encode("latin-1"))
    (finding,) = check_paths([file]).findings
    assert finding.column == 10
    file.write_bytes(b"\xef\xbb\xbf" + f"{FLOW}    time.time()\n".encode())
    assert len(check_paths([file]).findings) == 1


def test_module_that_is_only_imported_may_be_broken_or_missing():
    sources = {
        "broken.py": "def (:\n",
        "app.py": f"{PRELUDE}import broken, absent\nfrom broken import x\nfrom . import y\nfrom ..z import w\n\n"
        "@workflow\nasync def deploy(ctx):\n    x(), y(), w(), broken.b(), absent.c()\n",
    }
    assert [finding.path for finding in check_paths_in(sources, ["app.py"]).findings] == ["broken.py"]


def test_paths_that_cannot_be_read_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ConfigurationError, match="there is no file or directory"):
        check_paths([tmp_path / "absent.py"])
    (tmp_path / "app.py").mkdir()
    assert check_paths([tmp_path / "app.py"]).files == 0
    (tmp_path / "real.py").write_text("")
    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    with pytest.raises(ConfigurationError, match=r"real\.py cannot be read: Permission denied"):
        check_paths([tmp_path / "real.py"])
    monkeypatch.setattr("pathlib.Path.iterdir", refuse)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        check_paths([tmp_path])


def refuse(*_):
    raise PermissionError(13, "Permission denied")


def test_file_that_is_imported_and_cannot_be_read_is_passed_over(tmp_path, monkeypatch):
    long = "a" * 300
    (tmp_path / "app.py").write_text(f"import locked, {long}\n{FLOW}    locked.now(), {long}.now(), time.time()\n")
    (tmp_path / "locked.py").touch()
    read = Path.read_bytes
    monkeypatch.setattr("pathlib.Path.read_bytes", lambda path: refuse() if path.name == "locked.py" else read(path))
    assert [finding.code for finding in check_paths([tmp_path / "app.py"]).findings] == ["DURL101"]


def test_code_that_exhausts_the_parser_is_a_finding(monkeypatch):
    def exhaust(*_, **__):
        raise RecursionError

    monkeypatch.setattr("ast.parse", exhaust)
    (finding,) = check_sources({"app.py": "x = 1"}).findings
    assert finding.message.endswith("it is nested too deeply")


def test_directories_are_searched_without_what_is_not_ours(tmp_path):
    for name in (
        "app.py",
        "notes.txt",
        ".hidden/a.py",
        "__pycache__/a.py",
        "node_modules/a.py",
        "env/a.py",
        "deep/er/b.py",
    ):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{FLOW}    time.time()\n")
    (tmp_path / "env" / "pyvenv.cfg").touch()
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    report = check_paths([tmp_path])
    assert sorted(finding.path for finding in report.findings) == [f"{tmp_path}/app.py", f"{tmp_path}/deep/er/b.py"]
    assert report.files == 2


def test_file_that_is_named_is_checked_whatever_its_name(tmp_path):
    file = tmp_path / "script"
    file.write_text(f"#!/usr/bin/env python3\n{FLOW}    time.time()\n")
    assert len(check_paths([file]).findings) == 1


def test_findings_are_in_order_of_place():
    found = check_sources(
        {"b.py": f"{FLOW}    time.time()\n", "a.py": f"{FLOW}    uuid.uuid4(), time.time()\n"}
    ).findings
    assert [(finding.path, finding.code) for finding in found] == [
        ("a.py", "DURL102"),
        ("a.py", "DURL101"),
        ("b.py", "DURL101"),
    ]


def test_nothing_is_executed_or_imported(tmp_path):
    file = tmp_path / "app.py"
    file.write_text(f"raise SystemExit\nimport no_such_module\n{FLOW}    time.time()\n")
    assert len(check_paths([file]).findings) == 1


def test_every_file_is_read_and_parsed_once(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").touch()
    for number in range(5):
        imports = "".join(f"import m{other}\n" for other in range(5))
        (tmp_path / f"m{number}.py").write_text(f"{imports}{FLOW}    m{(number + 1) % 5}.deploy, time.time()\n")
    parsed: list[str] = []
    parse = ast.parse
    monkeypatch.setattr(
        "ast.parse", lambda *args, filename, **options: parsed.append(filename) or parse(*args, **options)
    )
    assert len(check_paths([tmp_path, tmp_path / "m0.py"]).findings) == 5
    assert len(parsed) == len(set(parsed)) == 5


def test_finding_as_json():
    (finding,) = findings_in("import time\n\ndef now(): return time.time()\n---\nnow()\n")
    assert finding.to_json() == {
        "path": "app.py",
        "line": 5,
        "column": 19,
        "end_line": 5,
        "end_column": 30,
        "code": "DURL101",
        "message": "time.time() is called in now, reached from workflow 'deploy': its result would differ on replay",
        "remedy": "use ctx.now()",
        "workflow": "deploy",
        "via": ["deploy", "now"],
    }


def test_sarif_has_what_version_2_1_0_requires():
    report = check_sources({"a b/app.py": f"{FLOW}    time.time()\n    print('a')\n"})
    log = json.loads(json.dumps(to_sarif(report, "1.2.3")))
    assert set(log) == {"$schema", "version", "runs"}
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-schema-2.1.0.json")
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "durable check"
    assert driver["semanticVersion"] == "1.2.3"
    rules = driver["rules"]
    assert [rule["id"] for rule in rules] == list(CODES)
    for rule in rules:
        assert rule["shortDescription"]["text"]
        assert rule["fullDescription"]["text"]
        assert rule["help"]["text"]
        assert rule["defaultConfiguration"]["level"] in ("none", "note", "warning", "error")
    assert len(run["results"]) == 2
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["message"]["text"]
        (location,) = result["locations"]
        place = location["physicalLocation"]
        assert place["artifactLocation"]["uri"] == "a%20b/app.py"
        region = place["region"]
        assert (region["startLine"], region["startColumn"]) < (region["endLine"], region["endColumn"])
        assert all(isinstance(number, int) and number >= 1 for number in region.values())
    assert [result["level"] for result in run["results"]] == ["error", "warning"]
    assert run["columnKind"] == "unicodeCodePoints"


def test_sarif_of_nothing_has_an_empty_list_of_results():
    (run,) = to_sarif(Report((), 0, 0), "1")["runs"]
    assert run["results"] == []


def test_sarif_names_files_elsewhere_by_uri():
    report = Report((Finding("/tmp/a b.py", 1, 1, 1, 2, "DURL901", "broken", ""),), 1, 0)
    (result,) = to_sarif(report, "1")["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "file:///tmp/a%20b.py"
    assert result["message"]["text"] == "broken"


def test_what_lies_around_a_workflow_may_be_anything():
    assert_case("""
        import time
        x: int
        def generic(a, /, b, *c, d=1, **e): return a
        class Empty: ...
        try:
            pass
        except* ValueError as group:
            raise
        match x:
            case {"a": a, **rest}: pass
            case [first, *others] | Empty(y=first, z=others): pass
            case _ as whole: pass
        with open("x") as (one, [two, *three]): pass
        del x
        ---
        generic(1, *[2], d=3, **{"e": 4})
        lambda a=1, *b, c=2, **d: a
        (yield)
        assert generic, "a"
        nothing, *rest = 1, 2
        f"{ctx!r:>{10}}"
    """)
