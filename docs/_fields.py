"""Griffe extension: a class whose fields are its arguments shows them as its signature, and methods that a class has
because its protocol asks for them are documented at the protocol only."""

import importlib.util
import re
from pathlib import Path
from typing import cast

from griffe import Alias, Attribute, Class, Extension, Function, Module, Object, Parameter, ParameterKind, Parameters

_spec = importlib.util.spec_from_file_location("_api", Path(__file__).with_name("_api.py"))
_api = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_api)

LABEL = re.compile(r"^( *)(Gradient|Source|Deviations): (.)", re.MULTILINE)
TOGETHER = re.compile(
    r"^(?P<indent> +)(?P<names>[a-zA-Z]\w*(?:, \w+)+)(?P<text>: .*(?:\n(?P=indent) +\S.*)*)", re.MULTILINE
)


def _bases(cls: Class) -> list[Class]:
    """The bases inside the library, nearest first."""
    found = []
    for base in cls.resolved_bases:
        base = base.final_target if isinstance(base, Alias) else base
        if isinstance(base, Class) and base.path.startswith("sciml."):
            found += [base, *_bases(base)]
    return found


def _is_abstract(cls: Class) -> bool:
    return cls.name.startswith("Abstract")


def _arguments(cls: Class) -> dict[str, Parameter]:
    arguments: dict[str, Parameter] = {}
    for one in [*reversed(_bases(cls)), cls]:
        for member in one.members.values():
            if not isinstance(member, Attribute) or member.annotation is None or "property" in member.labels:
                continue
            if "ClassVar" in str(member.annotation) or "AbstractVar" in str(member.annotation):
                continue
            if "class-attribute" in member.labels and "instance-attribute" not in member.labels:
                continue
            default = member.value
            if "field(" in str(default):
                given = [a.value for a in getattr(default, "arguments", []) if getattr(a, "name", "") == "default"]
                made = [
                    a.value for a in getattr(default, "arguments", []) if getattr(a, "name", "") == "default_factory"
                ]
                default = given[0] if given else (f"{made[0]}()" if made else None)
            kind = ParameterKind.positional_or_keyword
            arguments[member.name] = Parameter(member.name, annotation=member.annotation, kind=kind, default=default)
    return arguments


def _treat(cls: Class) -> None:
    bases = _bases(cls)
    if "__init__" not in cls.members and not _is_abstract(cls) and (arguments := _arguments(cls)):
        self_ = Parameter("self", kind=ParameterKind.positional_or_keyword)
        init = Function("__init__", lineno=0, endlineno=0, parent=cls, returns="None")
        init.parameters = Parameters(self_, *arguments.values())
        cls.set_member("__init__", init)
    asked = {name for base in bases if _is_abstract(base) for name in base.members}
    for name in list(cls.members):
        if name == "__check_init__" or (name in asked and name != "__init__" and not _is_abstract(cls)):
            cls.del_member(name)


def _each(match: re.Match[str]) -> str:
    first, *others = match["names"].split(", ")
    if first.endswith("Error"):
        return match.group()
    lines = [f"{match['indent']}{first}{match['text']}"]
    return "\n".join(lines + [f"{match['indent']}{name}: see `{first}`." for name in others])


def _text(of: Object) -> None:
    """Members that a docstring names become links, labels stand out, and `low, high: ...` becomes two entries."""
    if of.docstring is not None:
        text = TOGETHER.sub(_each, _api.linked(of.docstring.value, home=of.path.split(".")[1], is_docstring=True))
        of.docstring.value = LABEL.sub(lambda m: f"{m[1]}**{m[2]}.** {m[3].upper()}", text)


def _walk(module: Module) -> None:
    for member in list(module.members.values()):
        if isinstance(member, Class | Function):
            _text(member)
        if isinstance(member, Class):
            _treat(cast(Class, member))
            for method in member.members.values():
                if isinstance(method, Function):
                    _text(method)
        elif isinstance(member, Module):
            _walk(member)


class FieldsExtension(Extension):
    """Treats every class of the package once it is loaded."""

    def on_package(self, *, pkg: Module, **_) -> None:
        """After all modules were read."""
        if pkg.name == "sciml":
            _walk(pkg)
