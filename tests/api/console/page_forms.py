"""The fields of a form on a page, as a browser sends them."""

from html.parser import HTMLParser

Fields = list[tuple[str, str]]


class _Form(HTMLParser):
    def __init__(self, id_: str) -> None:
        super().__init__()
        self.id, self.is_inside = id_, False
        self.fields: Fields = []
        self.select: tuple[str, list[tuple[str, bool]]] | None = None
        self.option: tuple[str | None, bool] | None = None
        self.text, self.textarea = "", ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "form":
            self.is_inside = attributes.get("id") == self.id
        name = attributes.get("name") or ""
        match tag if self.is_inside else "":
            case "input" if attributes.get("type") in ("radio", "checkbox"):
                if "checked" in attributes:
                    self.fields.append((name, attributes.get("value") or ""))
            case "input" if name:
                self.fields.append((name, attributes.get("value") or ""))
            case "textarea":
                self.textarea, self.text = name, ""
            case "select":
                self.select = name, []
            case "option" if self.select:
                self.option, self.text = (attributes.get("value"), "selected" in attributes), ""

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self.is_inside = False
        elif tag == "textarea" and self.textarea:
            self.fields.append((self.textarea, self.text.removeprefix("\n")))
            self.textarea = ""
        elif tag == "option" and self.select and self.option:
            value, is_selected = self.option
            self.select[1].append((self.text.strip() if value is None else value, is_selected))
        elif tag == "select" and self.select:
            name, options = self.select
            chosen = [value for value, is_selected in options if is_selected]
            self.fields.append((name, (chosen or [options[0][0]])[-1]))
            self.select = None


def form_fields(page: str, id_: str) -> Fields:
    """Return the fields of the form with this id. Raises AssertionError if there are none."""
    form = _Form(id_)
    form.feed(page)
    assert form.fields, page
    return form.fields


def changed(fields: Fields, **values: str) -> Fields:
    """Return the fields with other values. Two underscores stand for a dot in a name."""
    by_name = {name.replace("__", "."): value for name, value in values.items()}
    assert by_name.keys() <= {name for name, _ in fields}, fields
    return [(name, by_name.get(name, value)) for name, value in fields]
