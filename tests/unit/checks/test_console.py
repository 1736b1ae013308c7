from pathlib import Path

from tests.checks.console import findings


def test_limits_of_the_console_hold() -> None:
    assert list(findings()) == []


def test_findings_name_each_exceeded_limit(tmp_path: Path) -> None:
    static = tmp_path / "app/console/static"
    scripts = tmp_path / "app/console/scripts"
    templates = tmp_path / "app/console/templates/flags"
    static.mkdir(parents=True)
    scripts.mkdir()
    templates.mkdir(parents=True)
    (templates / "list.html").write_text("x\n" * 121)
    (static / "a.css").write_text("x\n" * 701)
    (static / "b.css").write_text("x\n")
    (static / "c.js").write_text("// Here.")
    (scripts / "a.js").write_text("// Orders rules by pointer.\n" * 300)
    (scripts / "b.js").write_text("let x;\n" * 301)

    assert list(findings(tmp_path)) == [
        "app/console/templates/flags/list.html: 121 lines, at most 120",
        "app/console/static/b.css: there must be one style sheet",
        "app/console/static/a.css: 701 lines, at most 700",
        "app/console/static/c.js: belongs in app/console/scripts",
        "app/console/scripts/*.js: 601 lines, at most 600",
        "app/console/scripts/b.js:1: must give the reason for the module",
    ]
